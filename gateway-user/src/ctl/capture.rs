//! Writes traced packets as pcapng, each with its stages as a comment.

use crate::api::report::{CapturedFrame, TraceEvent};
use gateway_common::trace::SNAP;
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

/// A pcapng file under construction. What was written is readable at any time.
pub struct Capture<W: Write> {
    writer: PcapNgWriter<W>,
    interfaces: HashMap<String, u32>,
}

/// The packet's direction, as the option `epb_flags` has it.
#[derive(Clone, Copy)]
enum Direction {
    In = 1,
    Out = 2,
}

impl<W: Write> Capture<W> {
    /// Starts the file.
    pub fn new(writer: W) -> io::Result<Self> {
        let program = concat!("gatewayctl ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(program))],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(writer, section).map_err(failed)?;
        Ok(Self { writer, interfaces: HashMap::new() })
    }

    /// Writes a packet as it came in and, if it went on, as it left.
    pub fn write(&mut self, event: &TraceEvent) -> io::Result<()> {
        let comment = comment(event);
        if let Some(frame) = &event.arrived {
            self.frame(&event.port, event.time_ns, frame, &comment, Direction::In)?;
        }
        if let Some(frame) = &event.left {
            let left = matches!(event.verdict.as_str(), "forwarded" | "delivered");
            if left || event.arrived.is_none() {
                let port = event.out_port.as_deref().unwrap_or(if left { "compartment" } else { &event.port });
                self.frame(port, event.time_ns, frame, &comment, Direction::Out)?;
            }
        }
        self.writer.get_mut().flush()
    }

    fn frame(
        &mut self,
        port: &str,
        time_ns: u64,
        frame: &CapturedFrame,
        comment: &str,
        direction: Direction,
    ) -> io::Result<()> {
        let interface_id = self.interface(port)?;
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(time_ns),
            original_len: frame.length.max(u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX)),
            data: Cow::Borrowed(&frame.bytes),
            options: vec![
                EnhancedPacketOption::Common(CommonOption::Comment(Cow::Borrowed(comment))),
                EnhancedPacketOption::Flags(direction as u32),
            ],
        };
        self.writer.write_pcapng_block(block).map_err(failed)?;
        Ok(())
    }

    /// The port's number in the file; described at its first packet.
    fn interface(&mut self, port: &str) -> io::Result<u32> {
        if let Some(&id) = self.interfaces.get(port) {
            return Ok(id);
        }
        let nanoseconds = InterfaceTsResolution::from_u8(9).map_err(io::Error::other)?;
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: SNAP as u32,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(port)),
                InterfaceDescriptionOption::IfTsResol(nanoseconds),
            ],
        };
        self.writer.write_pcapng_block(block).map_err(failed)?;
        let id = self.interfaces.len() as u32;
        self.interfaces.insert(port.to_owned(), id);
        Ok(id)
    }
}

/// Keeps the kind of the system's own error where there is one, so that a broken pipe stays one.
fn failed(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(here) = cause {
        if let Some(io) = here.downcast_ref::<io::Error>() {
            return io::Error::new(io.kind(), error);
        }
        cause = here.source();
    }
    io::Error::other(error)
}

/// The stages as text.
fn comment(event: &TraceEvent) -> String {
    let mut text = super::trace::verdict(event);
    for stage in &event.stages {
        text.push_str(&format!("\n{}: {}", stage.stage, stage.detail));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::report::StageReport;
    use std::process::Command;

    fn event(verdict: &str, length: u32) -> TraceEvent {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
        bytes.extend([0x45, 0, 0, 28, 0, 7, 0, 0, 64, 17, 0, 0, 10, 2, 0, 5, 10, 1, 0, 5, 0, 9, 0, 9, 0, 8, 0, 0]);
        let frame = CapturedFrame { length, bytes };
        TraceEvent {
            time_ns: 1_700_000_000_123_456_789,
            port: "tor0".to_owned(),
            out_port: (verdict == "forwarded").then(|| "fab0".to_owned()),
            verdict: verdict.to_owned(),
            stages: vec![StageReport { stage: "parse".to_owned(), detail: "on tor0".to_owned() }],
            arrived: Some(frame.clone()),
            left: Some(frame),
            ..TraceEvent::default()
        }
    }

    /// Runs a program that is there; `None` if it is not installed.
    fn read_with(program: &str, arguments: &[&str]) -> Option<String> {
        let output = Command::new(program).args(arguments).output().ok()?;
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[test]
    fn the_file_is_what_other_programs_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("trace.pcapng");
        let mut capture = Capture::new(std::fs::File::create(&path).expect("a file")).expect("a header");
        capture.write(&event("forwarded", 42)).expect("written");
        capture.write(&event("dropped", 1500)).expect("written");
        let path = path.to_str().expect("UTF-8");
        let fields = ["-T", "fields", "-e", "frame.interface_name", "-e", "frame.len", "-e", "frame.time_epoch"];
        let mut arguments = vec!["-r", path];
        arguments.extend(fields);
        arguments.extend(["-e", "frame.comment"]);
        if let Some(text) = read_with("tshark", &arguments) {
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 3, "{text}");
            assert!(lines[0].starts_with("tor0\t42\t1700000000.123456789\tforwarded to fab0"), "{text}");
            assert!(lines[1].starts_with("fab0\t42\t"), "{text}");
            assert!(lines[2].starts_with("tor0\t1500\t") && lines[2].contains("parse: on tor0"), "{text}");
        }
        if let Some(text) = read_with("tcpdump", &["-nr", path]) {
            assert_eq!(text.lines().count(), 3, "{text}");
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_a_broken_pipe() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert_eq!(Capture::new(Gone).err().map(|error| error.kind()), Some(io::ErrorKind::BrokenPipe));
    }
}
