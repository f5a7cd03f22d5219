//! Long turns are told to the shard.

use nix::time::{ClockId, clock_gettime};

use super::*;

fn thread_cpu_us() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1000
}

#[test]
fn a_turn_that_took_long_is_told_with_its_cpu_time() {
    let (tell, told) = mpsc::channel();
    let server = run(puppet(move |_, _, input, _| {
        match input {
            Input::Filled { bytes: b"sleep", .. } => thread::sleep(Duration::from_millis(20)),
            Input::Filled { .. } => {
                let end = thread_cpu_us() + 5000;
                while thread_cpu_us() < end {}
            }
            Input::Turned { took, cpu } => drop(tell.send((took.0, cpu.0))),
            _ => {}
        }
        Progress::Idle
    }));
    // Other turns may be long by themselves.
    let next = |at_least: u64| loop {
        let (took, cpu) = told.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(cpu <= took);
        if took >= at_least {
            return (took, cpu);
        }
    };
    let mut client = server.client();
    client.write_all(b"sleep").unwrap();
    let (_, cpu) = next(20_000);
    assert!(cpu < 10_000, "{cpu} microseconds of CPU time for a sleep");
    client.write_all(b"work").unwrap();
    let (_, cpu) = next(5000);
    assert!(cpu >= 5000, "{cpu} microseconds of CPU time for work");
}
