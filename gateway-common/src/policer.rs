//! A policer in one 64-bit word: the generic cell rate algorithm in its virtual scheduling form (ITU-T I.371, annex A),
//! which meters like a token bucket.
//!
//! The word is the theoretical arrival time: when the packets let through so far would be over at the configured rate.
//! A caller loads it, asks [`Policer::admit`], and stores the answer by compare-and-exchange, so that cores share it without a lock. One
//! that comes too late adds [`Policer::cost_of`] its packet to what another one stored.
//!
//! Of a limit that is [`Policer::shared`] a core need not ask for every packet: it meters some bytes ahead and lets packets through out of
//! that credit ([`Policer::draw`]). A credit is no more than was metered before, so the rate is exact; what all cores may hold of it, and let
//! through at once some day, is taken off the burst beforehand.

use bytemuck::{Pod, Zeroable};

/// Ticks a nanosecond: fine enough that a 64-byte packet at 100 Gbit/s is metered within 0.3 %.
pub const TICKS_PER_NANOSECOND: u64 = 64;
const FRACTION: u32 = 16;
/// The part of a burst that all cores together may have in their hands: little, for the burst is as long as one TCP flow needs it.
const SHARED: u64 = 64;
/// Of that, each core has one quantum that it holds and one that it is just drawing.
const QUANTA_A_CORE: u64 = 2;
/// The most bytes of a quantum: enough to make asking cheap, and little enough where there is no limit that one soon takes hold.
const QUANTUM_MAX: u64 = 64 * 1024;

/// A rate and a burst, as the programs need them. All zero means unlimited.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Policer {
    /// Ticks a byte takes, with 16 fractional bits.
    pub cost: u64,
    /// How far the theoretical arrival time may run ahead, in ticks.
    pub burst: u64,
    /// Bytes that a core may meter ahead; 0: every packet is metered by itself.
    pub quantum: u64,
}

impl Policer {
    /// Lets everything through.
    pub const UNLIMITED: Self = Self { cost: 0, burst: 0, quantum: 0 };

    /// A policer of `kilobits_per_second` (1 to 2^32) that lets `burst_nanoseconds` worth of the rate through at once.
    pub const fn new(kilobits_per_second: u64, burst_nanoseconds: u64) -> Self {
        if kilobits_per_second == 0 {
            return Self::UNLIMITED;
        }
        // 8 bits a byte, 1e6 ns·kbit/s a bit.
        let cost = (8_000_000 * (TICKS_PER_NANOSECOND << FRACTION)) / kilobits_per_second;
        Self { cost, burst: burst_nanoseconds * TICKS_PER_NANOSECOND, quantum: 0 }
    }

    /// The same limit for so many cores, each of which may meter a little ahead.
    pub const fn shared(self, cores: u64) -> Self {
        if self.is_unlimited() || cores == 0 {
            return self;
        }
        let quanta = cores * QUANTA_A_CORE;
        let quantum = ((self.burst / SHARED / quanta) << FRACTION) / self.cost;
        let quantum = if quantum < QUANTUM_MAX { quantum } else { QUANTUM_MAX };
        Self { burst: self.burst - ((quanta * quantum * self.cost) >> FRACTION), quantum, ..self }
    }

    /// Whether there is nothing to meter.
    #[inline(always)]
    pub const fn is_unlimited(&self) -> bool {
        self.cost == 0
    }

    /// For a packet of `bytes` on a core that has `credit`: the bytes to meter first, and the credit after it if they are let through.
    #[inline(always)]
    pub const fn draw(&self, credit: u64, bytes: u32) -> (u32, u64) {
        let bytes = bytes as u64;
        let quantum = if self.is_unlimited() { QUANTUM_MAX } else { self.quantum };
        // What was drawn under an earlier limit does not outlive it.
        let credit = if credit < quantum { credit } else { quantum };
        if credit >= bytes {
            return (0, credit - bytes);
        }
        let missing = bytes - credit;
        let drawn = if missing < quantum { quantum } else { missing };
        (drawn as u32, credit + drawn - bytes)
    }

    /// Meters a packet of `bytes` at `now` nanoseconds, given the word as it stands: the word to store, or `None` when the packet is over the rate.
    #[inline(always)]
    pub const fn admit(&self, word: u64, bytes: u32, now: u64) -> Option<u64> {
        let now = now * TICKS_PER_NANOSECOND;
        let start = if word > now { word } else { now };
        if start - now > self.burst {
            return None;
        }
        Some(start + self.cost_of(bytes))
    }

    /// By how much a packet of `bytes` advances the word, in ticks.
    #[inline(always)]
    pub const fn cost_of(&self, bytes: u32) -> u64 {
        (bytes as u64 * self.cost) >> FRACTION
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Offers `bytes`-sized packets every `gap` ns for `seconds` and returns the kbit/s let through.
    fn offered(policer: Policer, bytes: u32, gap: u64, seconds: u64) -> u64 {
        let (mut word, mut passed, mut now) = (0, 0u64, 0);
        while now < seconds * 1_000_000_000 {
            if let Some(next) = policer.admit(word, bytes, now) {
                word = next;
                passed += u64::from(bytes);
            }
            now += gap;
        }
        passed * 8 / 1000 / seconds
    }

    #[test]
    fn the_rate_holds_within_two_percent_from_slow_to_fast() {
        for (rate, bytes, gap, seconds) in
            [(64, 1500, 10_000_000, 100), (10_000, 1400, 100_000, 10), (1_000_000, 64, 200, 1)]
        {
            let got = offered(Policer::new(rate, 10_000_000), bytes, gap, seconds);
            assert!(got.abs_diff(rate) * 50 <= rate, "{rate} kbit/s gave {got}");
        }
    }

    #[test]
    fn traffic_below_the_rate_is_untouched() {
        // 1000 bytes every ms = 8000 kbit/s.
        assert_eq!(offered(Policer::new(8_100, 0), 1000, 1_000_000, 2), 8_000);
    }

    #[test]
    fn a_burst_is_as_long_as_configured() {
        let policer = Policer::new(8_000, 5_000_000);
        let (mut word, mut passed) = (0, 0);
        while let Some(next) = policer.admit(word, 1000, 1_000_000_000) {
            word = next;
            passed += 1;
        }
        // A packet a millisecond: five within the burst, and the one that is at its end.
        assert_eq!(passed, 6);
        assert!(policer.admit(word, 1000, 1_000_000_000).is_none());
        assert!(policer.admit(word, 1000, 1_001_000_000).is_some());
    }

    #[test]
    fn what_cores_may_hold_comes_off_the_burst() {
        // 8 Mbit/s are 1000 bytes a millisecond: a 64th of 512 ms is 8000 bytes, two quanta for each of four cores.
        let shared = Policer::new(8_000, 512_000_000).shared(4);
        assert_eq!(shared.quantum, 1000);
        assert_eq!(shared.burst, 504_000_000 * TICKS_PER_NANOSECOND);
        assert_eq!(Policer::new(8_000, 0).shared(4), Policer::new(8_000, 0));
        assert_eq!(Policer::new(100_000_000, 1_000_000_000).shared(2).quantum, QUANTUM_MAX);
        assert_eq!(Policer::UNLIMITED.shared(4), Policer::UNLIMITED);
        assert_eq!(Policer::new(8_000, 512_000_000).shared(0).quantum, 0);
    }

    #[test]
    fn a_packet_out_of_credit_is_not_metered() {
        let policer = Policer::new(8_000, 512_000_000).shared(4);
        assert_eq!(policer.draw(0, 300), (1000, 700));
        assert_eq!(policer.draw(700, 700), (0, 0));
        assert_eq!(policer.draw(200, 300), (1000, 900));
        // More than a quantum at once: nothing is drawn ahead.
        assert_eq!(policer.draw(200, 1500), (1300, 0));
        // A credit of a time without a limit.
        assert_eq!(policer.draw(QUANTUM_MAX, 400), (0, 600));
        assert_eq!(Policer::new(8_000, 512_000_000).draw(700, 300), (300, 0));
        assert_eq!(Policer::UNLIMITED.draw(0, 300), (QUANTUM_MAX as u32, QUANTUM_MAX - 300));
    }

    /// Cores that take packets at any time: what passes within any stretch of it is the rate and the burst at most, and while some is
    /// refused, the rate at least.
    #[derive(Default)]
    struct Cores {
        word: u64,
        credit: [u64; 4],
    }

    impl Cores {
        fn lets(&mut self, policer: &Policer, core: usize, bytes: u32, now: u64) -> bool {
            let (drawn, credit) = policer.draw(self.credit[core], bytes);
            if drawn != 0 {
                match policer.admit(self.word, drawn, now) {
                    Some(word) => self.word = word,
                    None => return false,
                }
            }
            self.credit[core] = credit;
            true
        }
    }

    #[test]
    fn cores_that_share_a_limit_keep_its_rate() {
        let (policer, bytes, mut cores) = (Policer::new(100_000, 50_000_000).shared(4), 700, Cores::default());
        let passed = (0..400_000u64).filter(|step| cores.lets(&policer, (step % 4) as usize, bytes, step * 10_000));
        // In four seconds.
        let kilobits = passed.count() as u64 * u64::from(bytes) * 8 / 1000 / 4;
        assert!(kilobits.abs_diff(100_000) * 50 <= 100_000, "{kilobits}");
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_sees_more_than_the_rate_and_the_burst(
            kbps in 100u64..1_000_000,
            milliseconds in 0u64..300,
            packets in prop::collection::vec((0usize..4, 64u32..1500, 0u64..2_000_000), 1..600),
        ) {
            let burst = milliseconds * 1_000_000;
            let (policer, mut cores, mut now) = (Policer::new(kbps, burst).shared(4), Cores::default(), 1 << 40);
            // How far what passes is ahead of the rate, in bits x 10^6: at most by the burst since it was the least.
            let (mut ahead, mut least) = (0i128, 0i128);
            for (core, bytes, pause) in packets {
                now += pause;
                ahead -= i128::from(kbps * pause);
                least = least.min(ahead);
                if cores.lets(&policer, core, bytes, now) {
                    ahead += i128::from(bytes) * 8_000_000;
                    // The packet that crosses it, and what is lost when a byte's cost is rounded.
                    let most = i128::from(kbps * burst) + 1500 * 8_000_000;
                    prop_assert!(ahead - least <= most + most / 1000, "{} of {most}", ahead - least);
                }
            }
        }
    }

    #[test]
    fn the_cost_of_a_byte_is_exact_at_the_ends_of_the_range() {
        assert_eq!(Policer::new(8_000_000, 0).cost, TICKS_PER_NANOSECOND << 16);
        assert_eq!(Policer::new(1, 0).cost, 8_000_000 * (64 << 16));
        assert_eq!(Policer::new(8_000_000, 3).burst, 192);
        assert_eq!(Policer::new(8_000_000, 0).admit(0, 100, 10), Some(640 + 6400));
        assert!(Policer::new(0, 9).is_unlimited());
        assert!(!Policer::new(1, 0).is_unlimited());
    }
}
