//! What several of these tests need.

use std::fs::File;

use lab::node::Node;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// Runs something in a machine's network, on a thread that may start others. Mounts made there vanish with it.
pub fn on<T: Send>(node: &Node, action: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let network = File::open(node.namespaces().network).expect("the machine's network");
            setns(&network, CloneFlags::CLONE_NEWNET).expect("the machine's network can be entered");
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).expect("mounts of our own");
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
                .expect("mounts of our own");
            action()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
