//! What leaves the core when.

use super::*;
use crate::controller::core::event::Sink;

/// Takes actions as they come: what each is called.
#[derive(Default)]
struct Taken {
    names: Vec<&'static str>,
    written: Option<Sequence>,
}

impl Sink for Taken {
    fn act(&mut self, action: Action) {
        self.names.push(match action {
            Action::Write(sequence, _) => {
                self.written = Some(sequence);
                "write"
            }
            Action::Answer(..) => "answer",
            Action::Admit(..) => "admit",
            Action::Follow(..) => "follow",
            Action::Plan(..) => "plan",
            Action::Routes(..) => "routes",
            Action::Tell(..) => "tell",
            Action::Close(_) => "close",
        });
    }
}

#[test]
fn a_change_leaves_as_a_write_alone_and_is_answered_before_others_are_told() {
    let mut world = World::furnished();
    let agent = gateway(&"GW1".into());
    enrol(&mut world, &agent);
    let connect = Connect { agent, key: KeyId([7; 32]), hello: hello(None) };
    world.step(Event::Connect(CallId(50), StreamId(50), connect));
    watches::watch(&mut world, Principal { name: "operator".into(), role: Role::Admin }, None);
    world.settle();

    let (path, body) = site("contoso", 100, 1000);
    let request = world.request(Method::Put, &path, &body, None);
    let now = Moment { unix_milliseconds: world.now, seed: 7 };
    let mut taken = Taken::default();
    world.core.step(Event::Request(CallId(60), request), now, &mut taken);
    assert_eq!(taken.names, ["write"], "the rest waits until that is durable");
    let written = taken.written.expect("a write");
    let mut taken = Taken::default();
    world.core.step(Event::Durable(written, world.revision + 1), now, &mut taken);
    assert_eq!(taken.names, ["answer", "plan", "tell"], "who asked is waiting");
}
