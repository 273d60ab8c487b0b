//! One voter of a pool: what it does about every seat.

mod holder;
mod relief;
mod seat;
mod successor;

use crate::charter::{Charter, Incarnation, Share};
use crate::message::{Answer, Ask, Claim, Message, Verdict};
use crate::names::{GatewayName, SeatName, Voter};
use crate::timers::Timers;
use crate::voter::{Opinion, Promise, Recollection};
use gateway_common::{Epoch, moment::Moment};
use seat::Seat;
use std::collections::{BTreeMap, BTreeSet};

/// What a member knows when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Memory {
    /// Nothing of what it said before, if it said something: its machine was started anew.
    #[default]
    Blank,
    /// All of it: its process was started anew, and what the kernel keeps for it is still there.
    Kept {
        /// What it said yes to.
        promises: BTreeMap<SeatName, Promise>,
        /// What the gates say.
        held: BTreeMap<SeatName, (Epoch, Hold)>,
    },
}

/// What a member is to a seat, as the gate has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// It does not hold it: nothing passes.
    Replica,
    /// It holds it until then; without an end if there is none.
    Held(Option<Moment>),
    /// It forwards what still reaches it, and another is to take the seat.
    Yielding {
        /// Until then.
        until: Option<Moment>,
        /// The other's epoch, of which packets may tell while this one still forwards.
        to: Epoch,
    },
}

/// What a member is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// What the controller has settled.
    Charter(Charter),
    /// Another voter speaks.
    Message {
        /// Who, beyond doubt.
        from: Voter,
        /// What it says.
        message: Message,
    },
    /// What this member sees of a gateway in respect of a seat.
    Seen {
        /// The seat.
        seat: SeatName,
        /// The gateway.
        gateway: GatewayName,
        /// What is seen.
        opinion: Opinion,
    },
    /// A packet that only a holder can have made carried this epoch of a seat.
    HigherEpoch {
        /// The seat.
        seat: SeatName,
        /// The epoch.
        epoch: Epoch,
    },
    /// The seat is to be taken by another gateway without a loss: this one, or whose turn it is.
    HandOver {
        /// The seat.
        seat: SeatName,
        /// To whom.
        to: Option<GatewayName>,
    },
    /// Nothing has come any more for a seat that was handed over.
    Still(SeatName),
    /// It is later: [`Member::next_deadline`].
    Timer,
}

/// What a member has done by whoever drives it, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To be kept where a restart of the process finds it, before what follows is done.
    Remember {
        /// The seat.
        seat: SeatName,
        /// What was said yes to.
        promise: Promise,
    },
    /// To be written into the gate.
    Gate {
        /// The seat.
        seat: SeatName,
        /// Under which epoch.
        epoch: Epoch,
        /// What the member is to it.
        hold: Hold,
    },
    /// To be said to another voter.
    Send {
        /// To whom.
        to: Voter,
        /// What.
        message: Message,
    },
    /// To be told to people.
    Event {
        /// Of which seat.
        seat: SeatName,
        /// What happened.
        event: Event,
    },
}

/// What happens to a seat, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This gateway wants to take it under this epoch.
    Bids(Epoch),
    /// It gave that up: the holder is alive after all, or another was faster.
    BidEnded(Epoch),
    /// It holds it, and began to bid then.
    Taken {
        /// Under this epoch.
        epoch: Epoch,
        /// When it began to bid.
        since: Moment,
    },
    /// It held the seat under `epoch`, and another holds it under `by`.
    Superseded {
        /// Its own epoch.
        epoch: Epoch,
        /// The other's.
        by: Epoch,
    },
    /// No majority stood by it until its lease was over.
    LeaseOver(Epoch),
    /// It lets another take the seat.
    Yields {
        /// Its own epoch.
        epoch: Epoch,
        /// The other's.
        to: Epoch,
    },
    /// The other did not take it in time, and this one goes on.
    YieldFailed(Epoch),
    /// It has forwarded the last packet of a seat that it handed over.
    HandedOver(Epoch),
    /// It cannot hand over what it does not hold.
    NotHeld,
    /// Nobody was granted what it is to hand over.
    NoSuccessor,
}

/// One voter of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    me: Voter,
    incarnation: Incarnation,
    timers: Timers,
    charter: Charter,
    started: Moment,
    memory: Recollection,
    seats: BTreeMap<SeatName, Seat>,
    /// The seats that it holds or is about to.
    mine: BTreeSet<SeatName>,
}

/// What a seat's part of a member needs of the whole.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub me: &'a Voter,
    pub incarnation: Incarnation,
    pub name: &'a SeatName,
    pub timers: &'a Timers,
    pub charter: &'a Charter,
    pub started: Moment,
    pub memory: Recollection,
    pub elsewhere: Elsewhere,
    pub now: Moment,
}

/// What a member has to do with other seats than the one in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// It holds none of them and wants none.
    Idle,
    /// It holds some, or wants to, and they take so much of it.
    Busy(Share),
}

impl Member {
    /// A voter that has just started, in this life of its machine. It knows no charter yet.
    pub fn new(me: Voter, incarnation: Incarnation, timers: Timers, memory: Memory, now: Moment) -> Self {
        let (memory, seats) = match memory {
            Memory::Blank => (Recollection::Doubtful, BTreeMap::new()),
            Memory::Kept { promises, held } => {
                let mut seats: BTreeMap<SeatName, Seat> = BTreeMap::new();
                for (name, promise) in promises {
                    seats.entry(name).or_default().recall(promise, now);
                }
                for (name, (epoch, hold)) in held {
                    seats.entry(name).or_default().resume(epoch, hold, now);
                }
                (Recollection::Certain, seats)
            }
        };
        let mine = seats.iter().filter(|(_, seat)| seat.is_wanted_here()).map(|(name, _)| name.clone()).collect();
        Self { me, incarnation, timers, charter: Charter::default(), started: now, memory, seats, mine }
    }

    /// Takes one input in.
    pub fn step(&mut self, input: Input, now: Moment, out: &mut Vec<Output>) {
        if now.since(self.started) >= self.timers.lease() {
            self.memory = Recollection::Certain;
        }
        match input {
            Input::Charter(charter) => self.adopt(charter),
            Input::Message { from, message: Message::Ask(ask) } => self.asked(&from, &ask, now, out),
            Input::Message { from, message: Message::Answer(answer) } => {
                self.with(&answer.seat, now, |seat, context| seat.answered(context, &from, &answer, out));
            }
            Input::Seen { seat, gateway, opinion } => {
                self.with(&seat, now, |seat, _| seat.sees(gateway, opinion, now));
            }
            Input::HigherEpoch { seat, epoch } => {
                self.with(&seat, now, |seat, context| seat.superseded(context, epoch, out));
            }
            Input::HandOver { seat, to } => {
                self.with(&seat, now, |seat, context| seat.hand_over(context, to.as_ref(), out));
            }
            Input::Still(seat) => self.with(&seat, now, |seat, context| seat.still(context, out)),
            Input::Timer => {}
        }
        let names: Vec<SeatName> = self.seats.keys().cloned().collect();
        for name in names {
            self.with(&name, now, |seat, context| seat.look(context, out));
        }
        self.relieve(now, out);
    }

    /// When to say [`Input::Timer`] at the latest.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.seats.iter().filter_map(|(name, seat)| seat.deadline(self.context(name, self.started))).min()
    }

    /// What this member is to a seat, and under which epoch.
    pub fn hold(&self, seat: &SeatName) -> (Epoch, Hold) {
        self.seats.get(seat).map_or((Epoch(0), Hold::Replica), Seat::hold)
    }

    /// The holder of a seat that was heard last, under which epoch, and when.
    pub fn holder(&self, seat: &SeatName) -> Option<(&GatewayName, Epoch, Moment)> {
        let incumbent = self.seats.get(seat)?.record.incumbent.as_ref()?;
        Some((&incumbent.gateway, incumbent.epoch, incumbent.heard))
    }

    fn adopt(&mut self, charter: Charter) {
        // What an older controller says, or what was long on its way.
        if charter.number() < self.charter.number() {
            return;
        }
        for name in charter.seats().keys() {
            self.seats.entry(name.clone()).or_default();
        }
        self.charter = charter;
    }

    fn asked(&mut self, from: &Voter, ask: &Ask, now: Moment, out: &mut Vec<Output>) {
        let Some(asker) = from.as_gateway() else { return };
        if !self.charter.electorate().voters().any(|voter| voter == from) {
            return;
        }
        let mut verdict = Verdict::Ungranted;
        self.with(&ask.seat, now, |seat, context| verdict = seat.asked(context, asker, ask, out));
        let answer = Answer { seat: ask.seat.clone(), epoch: ask.epoch, asked: ask.asked, verdict };
        out.push(Output::Send { to: from.clone(), message: Message::Answer(answer) });
    }

    fn context<'a>(&'a self, name: &'a SeatName, now: Moment) -> Context<'a> {
        let Self { me, incarnation, timers, charter, started, memory, mine, .. } = self;
        let elsewhere = elsewhere(mine, charter, name);
        Context {
            me,
            incarnation: *incarnation,
            name,
            timers,
            charter,
            started: *started,
            memory: *memory,
            elsewhere,
            now,
        }
    }

    /// Does something to a seat that there is.
    fn with(&mut self, name: &SeatName, now: Moment, action: impl FnOnce(&mut Seat, Context<'_>)) {
        let Self { me, incarnation, timers, charter, started, memory, seats, mine } = self;
        let elsewhere = elsewhere(mine, charter, name);
        if let Some(seat) = seats.get_mut(name) {
            action(
                seat,
                Context {
                    me,
                    incarnation: *incarnation,
                    name,
                    timers,
                    charter,
                    started: *started,
                    memory: *memory,
                    elsewhere,
                    now,
                },
            );
            if !seat.is_wanted_here() {
                mine.remove(name);
            } else if !mine.contains(name) {
                mine.insert(name.clone());
            }
        }
    }
}

fn elsewhere(mine: &BTreeSet<SeatName>, charter: &Charter, but: &SeatName) -> Elsewhere {
    let mut others = mine.iter().filter(|name| *name != but).peekable();
    if others.peek().is_none() {
        return Elsewhere::Idle;
    }
    Elsewhere::Busy(others.map(|name| charter.share(name)).sum())
}

impl Context<'_> {
    /// Whether this member can take the seat beside what it has. One that has nothing takes whatever there is.
    fn has_room(self) -> bool {
        let share = self.charter.share(self.name);
        match self.elsewhere {
            Elsewhere::Idle => true,
            Elsewhere::Busy(busy) => busy.plus(share) <= Share::WHOLE,
        }
    }

    fn gate(self, epoch: Epoch, hold: Hold) -> Output {
        Output::Gate { seat: self.name.clone(), epoch, hold }
    }

    fn event(self, event: Event) -> Output {
        Output::Event { seat: self.name.clone(), event }
    }

    fn ask(self, epoch: Epoch, claim: Claim) -> Ask {
        let electorate = self.charter.electorate().number();
        Ask { seat: self.name.clone(), epoch, claim, electorate, asked: self.now }
    }
}
