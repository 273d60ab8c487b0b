//! Ports of a plan that are not fit: refused, or warned of, once.

use crate::dataplane::pins::Pins;
use crate::net::fitness::{self, PortReport, Verdict};
use crate::plan::Plan;
use anyhow::bail;
use std::collections::BTreeSet;

/// What a person was warned of, for as long as it lasts: plans change many times a minute, ports hardly ever.
#[derive(Debug, Default)]
pub(super) struct PortWarnings(BTreeSet<(String, String)>);

impl PortWarnings {
    /// Refuses a plan with a port that is not fit, and warns of what else a person should know.
    pub(super) fn refuse_unfit(&mut self, plan: &Plan, pins: &Pins) -> anyhow::Result<()> {
        let ours = Some(pins.links()?.into_iter().map(|link| link.ifindex).collect());
        let reports = fitness::inspect(plan, &ours)?;
        let refused = refusals(&reports);
        if !refused.is_empty() {
            bail!("{}", refused.join("\n"));
        }
        for warning in self.fresh(&reports) {
            tracing::warn!(port = warning.port, remedy = warning.remedy, "{}", warning.message);
        }
        Ok(())
    }

    /// The warnings that nobody has been told yet. What has passed is forgotten, and told again when it comes back.
    fn fresh<'a>(&mut self, reports: &'a [PortReport]) -> Vec<Warning<'a>> {
        let findings = reports.iter().flat_map(|report| report.findings.iter().map(move |finding| (report, finding)));
        let warnings: Vec<Warning<'a>> = findings
            .filter(|(_, finding)| finding.verdict == Verdict::Warning)
            .map(|(report, finding)| Warning { port: &report.name, message: &finding.message, remedy: &finding.remedy })
            .collect();
        let told = std::mem::take(&mut self.0);
        self.0 = warnings.iter().map(Warning::key).collect();
        warnings.into_iter().filter(|warning| !told.contains(&warning.key())).collect()
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Warning<'a> {
    port: &'a str,
    message: &'a str,
    remedy: &'a str,
}

impl Warning<'_> {
    fn key(&self) -> (String, String) {
        (self.port.to_owned(), self.message.to_owned())
    }
}

fn refusals(reports: &[PortReport]) -> Vec<String> {
    let findings = reports.iter().flat_map(|report| report.findings.iter().map(move |finding| (report, finding)));
    findings
        .filter(|(_, finding)| finding.verdict == Verdict::Refused)
        .map(|(report, finding)| format!("port {}: {}; {}", report.name, finding.message, finding.remedy))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fitness::Finding;

    fn report(port: &str, findings: &[(Verdict, &str)]) -> PortReport {
        let finding = |(verdict, message): &(Verdict, &str)| Finding {
            verdict: *verdict,
            message: (*message).to_owned(),
            remedy: "mend it".to_owned(),
        };
        let findings = findings.iter().map(finding).collect();
        PortReport { name: port.to_owned(), driver: None, mtu: None, mac: None, findings }
    }

    #[test]
    fn a_port_is_warned_of_once_for_as_long_as_the_cause_lasts() {
        let veth = [report("up0", &[(Verdict::Warning, "up0 is a veth"), (Verdict::Switched, "lro is on")])];
        let mut warnings = PortWarnings::default();
        let said = |fresh: Vec<Warning<'_>>| fresh.iter().map(|warning| warning.message.to_owned()).collect::<Vec<_>>();
        assert_eq!(said(warnings.fresh(&veth)), ["up0 is a veth"]);
        assert!(warnings.fresh(&veth).is_empty(), "another plan with the same port");
        let more = [report("up0", &[(Verdict::Warning, "up0 is a veth"), (Verdict::Warning, "up0 is down")])];
        assert_eq!(said(warnings.fresh(&more)), ["up0 is down"]);
        assert!(warnings.fresh(&[report("up0", &[])]).is_empty());
        assert_eq!(said(warnings.fresh(&veth)), ["up0 is a veth"], "it came back");
    }

    #[test]
    fn only_what_is_refused_refuses() {
        let findings = [(Verdict::Warning, "slow"), (Verdict::Refused, "in use"), (Verdict::Switched, "lro is on")];
        assert_eq!(refusals(&[report("up0", &findings)]), ["port up0: in use; mend it"]);
    }
}
