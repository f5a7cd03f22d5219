//! Long turns are told to the shard.

use nix::time::{ClockId, clock_gettime};

use super::*;

fn thread_cpu_us() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1000
}

fn work(us: u64) {
    let end = thread_cpu_us() + us;
    while thread_cpu_us() < end {}
}

#[test]
fn a_turn_that_took_long_is_told_with_its_cpu_time() {
    let (tell, told) = mpsc::channel();
    let server = run(puppet(move |_, _, input, _| {
        match input {
            Input::Filled { bytes: b"sleep", .. } => thread::sleep(Duration::from_millis(20)),
            Input::Filled { .. } => work(5000),
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

/// Bytes of which each piece takes long …
const SLOW: usize = 300_000;
/// … and all that are sent.
const ALL: usize = 6_000_000;

/// How far a link was read with each piece, and how long that was, when `linger` is done with each of the slow ones.
fn pieces(linger: fn()) -> Vec<(usize, usize)> {
    let (tell, told) = mpsc::channel();
    let mut got = 0;
    let server = run(puppet(move |_, _, input, _| {
        if let Input::Filled { bytes, .. } = input {
            if got < SLOW {
                linger();
            }
            got += bytes.len();
            tell.send((got, bytes.len())).unwrap();
        }
        Progress::Idle
    }));
    server.client().write_all(&noise(ALL)).unwrap();
    std::iter::from_fn(|| told.recv_timeout(Duration::from_secs(10)).ok())
        .take_while(|&(got, _)| got < ALL)
        .collect()
}

fn longest(pieces: &[(usize, usize)], from: usize, to: usize) -> Option<usize> {
    pieces.iter().filter(|(got, _)| (from..to).contains(got)).map(|(_, len)| *len).max()
}

#[test]
fn a_link_whose_bytes_take_long_is_read_in_smaller_pieces_until_they_do_not() {
    let pieces = pieces(|| work(1000));
    assert_eq!(longest(&pieces, SLOW / 2, SLOW), Some(4096), "at last as little as is worth a read");
    assert_eq!(longest(&pieces, SLOW, ALL), Some(64 * 1024), "and then as much as there is room for");
}

#[test]
fn a_link_is_read_in_large_pieces_when_its_thread_only_waited_for_a_core() {
    let pieces = pieces(|| thread::sleep(Duration::from_millis(1)));
    // As large as what had come by then.
    assert!(longest(&pieces, SLOW / 2, SLOW + 64 * 1024) > Some(4096));
}
