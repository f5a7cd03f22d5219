//! What the machines are promised about their mail.

use whimbrel_core::ids::JobName;
use whimbrel_core::mail::Fact;
use whimbrel_core::rng::Rng;

use super::*;

#[test]
fn mail_is_delivered_before_bytes_appended_later_are_sent() {
    let delivered = Arc::new(AtomicBool::new(false));
    let (tell, told) = mpsc::channel();
    let seen = delivered.clone();
    let node = puppet(move |_, _, input, out| {
        match input {
            Input::Mailed(_) => seen.store(true, Ordering::Release),
            Input::Terminated { .. } => out.push(Action::Exit { code: 7, reason: "bye".into() }),
            _ => {}
        }
        Progress::Idle
    });
    let mut links = Vec::new();
    let shard = puppet(move |hands, _, input, out| {
        match input {
            Input::Opened { link, .. } => links.push(link),
            Input::Filled { .. } => {
                for link in &links {
                    hands.outboxes.get_mut(link).unwrap().write(b"1");
                    out.push(Action::Flush { link: *link });
                }
            }
            Input::Drained { link } if link == links[0] => {
                let job = JobName::random(&mut Rng::new(1));
                out.report(Fact::CleanUp { job });
                hands.outboxes.get_mut(&links[1]).unwrap().write(b"2");
                out.push(Action::Flush { link: links[1] });
            }
            Input::Drained { .. } => tell.send(delivered.load(Ordering::Acquire)).unwrap(),
            _ => {}
        }
        Progress::Idle
    });
    let server = run_both(node, shard);
    let mut first = server.client();
    let mut second = server.client();
    // Both are known before anything is said.
    thread::sleep(Duration::from_millis(100));
    first.write_all(b"go").unwrap();
    second.read_exact(&mut [0; 2]).unwrap();
    assert!(told.recv().unwrap(), "the bytes overtook the mail");
}
