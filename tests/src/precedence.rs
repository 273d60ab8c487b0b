//! Which threads of the lab's run first.

/// Lets the calling thread run before all ordinary ones, since what it stands for is no program: a wire and a router's hardware do not wait for
/// a CPU, however busy the machine is. It must not run for long without waiting for something.
pub fn run_first() {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter lives through the call. Where this is not permitted, the thread is one among others.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &lowest) };
}
