//! Watching through the typed store: what is shown, who is woken, and what waiting costs.

use crate::{Store, my, open, with};
use kv_log_engine::storage::sim::SimDisk;
use kv_log_engine::{KVLog, Missed, Tuning, WatchStream};
use kv_trait::{ErrorKind, Event, EventKind, KeyRange, Result, Stream, Version, Watches};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

type Pair = (String, u32);

const fn is_sent<T: Send + 'static>(_: &T) {}

/// Wakes nobody, and counts.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

async fn next<K, V>(stream: &mut WatchStream<K, V, crate::Counting>) -> Result<Event<K, V>>
where
    K: Send + 'static,
    V: Send + 'static,
{
    stream.next().await.unwrap()
}

#[test]
fn a_stream_shows_the_changes_of_a_prefix_with_their_versions() {
    with::<Pair, String>(async |store, _| {
        let pair = |name: &str, number| (name.to_owned(), number);
        let mut of_ann = store.watch(&("ann",));
        let mut of_all = store.watch_range(..);
        is_sent(&of_ann);
        store.put(&pair("ann", 7), &"seven".to_owned()).await?;
        store.put(&pair("anna", 1), &"another".to_owned()).await?;
        store.remove(&pair("ann", 7)).await?;
        let first = next(&mut of_ann).await?;
        assert_eq!(
            first.kind,
            EventKind::put(pair("ann", 7), "seven".to_owned())
        );
        assert!(first.ends_batch);
        let found = store.get_versioned(&pair("anna", 1)).await?.unwrap();
        assert!(first.version < found.version);
        let second = next(&mut of_ann).await?;
        let key = pair("ann", 7);
        assert_eq!(second.kind, EventKind::Remove { key });
        let all = [
            next(&mut of_all).await?,
            next(&mut of_all).await?,
            next(&mut of_all).await?,
        ];
        assert_eq!((&all[0], &all[2]), (&first, &second));
        assert_eq!(all[1].version, found.version);
        Ok(())
    });
}

#[test]
fn a_stream_that_waits_takes_no_thread_and_is_woken_by_each_group() {
    with::<u32, String>(async |store, runtime| {
        let mut stream = pin!(store.watch_range(..));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut poll = || {
            let mut cx = Context::from_waker(&waker);
            Stream::poll_next(stream.as_mut(), &mut cx)
        };
        let before = runtime.hops();
        assert!(poll().is_pending() && poll().is_pending());
        assert_eq!((runtime.hops() - before, woken.times()), (0, 0));
        store.engine().put(b"not a number", b"").unwrap(); // on this thread: no hop
        assert_eq!((runtime.hops() - before, woken.times()), (0, 1));
        let mut item = poll();
        while item.is_pending() {
            std::thread::sleep(Duration::from_millis(1));
            item = poll();
        }
        assert_eq!(runtime.hops() - before, 1);
        // It does not decode; whoever takes it goes on.
        let Poll::Ready(Some(Err(error))) = item else {
            panic!("{item:?}");
        };
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert!(error.to_string().contains("not a number"), "{error}");
        assert!(poll().is_pending());
        Ok(())
    });
}

#[test]
fn a_stream_dropped_at_any_poll_keeps_nothing() {
    with::<u32, String>(async |store, _| {
        for polls in 0..4 {
            let mut stream = store.watch_range(..);
            let mut woken = Context::from_waker(Waker::noop());
            for poll in 0..polls {
                let _ready = pin!(stream.next()).poll_once(&mut woken);
                store.put(&poll, &"value".to_owned()).await?;
            }
            drop(stream);
        }
        // What was being read is given up at its next step.
        for _ in 0..10_000 {
            if store.stats().slowest_watch.is_none() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("{:?}", store.stats().slowest_watch);
    });
}

/// One poll of a future that is not kept.
trait PollOnce {
    fn poll_once(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool;
}

impl<F: Future> PollOnce for F {
    fn poll_once(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        self.poll(cx).is_ready()
    }
}

#[test]
fn many_tasks_of_which_each_waits_for_another_do_not_wait_for_ever() {
    with::<u32, u32>(async |store, _| {
        const TURNS: u32 = 50;
        let threads: Vec<_> = (0..4_u32)
            .map(|task| {
                let store = store.clone();
                let mut stream = store.watch_range(task..=task);
                std::thread::spawn(move || {
                    my::block_on(async {
                        for turn in 0..TURNS {
                            let event = stream.next().await.unwrap()?;
                            assert_eq!(event.value(), Some(&turn));
                            let (to, value) = if task == 3 {
                                (0, turn + 1)
                            } else {
                                (task + 1, turn)
                            };
                            store.put(&to, &value).await?;
                        }
                        Ok::<(), kv_trait::Error>(())
                    })
                })
            })
            .collect();
        store.put(&0, &0).await?;
        for thread in threads {
            thread.join().unwrap()?;
        }
        Ok(())
    });
}

#[test]
fn a_stream_goes_on_behind_a_version_in_another_process() {
    my::block_on(async {
        let disk = SimDisk::new();
        let store: Store<u32, String> = open(&disk).await?;
        let mut stream = store.watch_range(..);
        for number in 0..3 {
            store.put(&number, &format!("value {number}")).await?;
        }
        let (first, second) = (next(&mut stream).await?, next(&mut stream).await?);
        let third = next(&mut stream).await?;
        store.close().await?;
        assert!(stream.next().await.is_none() && stream.next().await.is_none());

        let store: Store<u32, String> = open(&disk).await?;
        let mut again = store.watch_range(1..).after(first.version);
        assert_eq!(next(&mut again).await?, second);
        assert_eq!(next(&mut again).await?, third);
        let future = Version::from_u64(third.version.to_u64() + 1);
        let mut refused = store.watch_range(..).after(future);
        assert_eq!(
            next(&mut refused).await.unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert!(refused.next().await.is_none());
        drop(store);
        assert!(again.next().await.is_none(), "the last handle is dropped");
        Ok::<(), kv_trait::Error>(())
    })
    .unwrap();
}

#[test]
fn a_stream_that_is_too_slow_is_told_and_goes_on() {
    my::block_on(async {
        let disk = SimDisk::new();
        let options = crate::small(&disk)
            .segment_bytes(4096)
            .separation_bytes(64)
            .watch_bytes_max(0)
            .tuning(Tuning {
                by_hand: true,
                ..Tuning::default()
            });
        let store: Store<u32, String> =
            KVLog::load_on(crate::Counting::default(), "/db", options).await?;
        let mut stream = store.watch_range(..);
        let mut last = 0;
        for number in 0..2020_u32 {
            last = number;
            store
                .put(&(number % 50), &format!("value {number}"))
                .await?;
            if number % 500 == 499 {
                store.engine().freeze()?;
                while store.engine().run_slice()? {}
            }
        }
        let mut gaps = 0;
        loop {
            match stream.next().await.unwrap() {
                Ok(event) if event.value() == Some(&format!("value {last}")) => break,
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::TooOld, "{error}");
                    assert!(Missed::of(&error).is_some());
                    gaps += 1;
                }
            }
        }
        assert!(gaps > 0);
        // Through the contract that is the last item.
        let watches: &dyn Watches<u32, String> = &store;
        let first = Some(Version::from_u64(0));
        let mut items = watches.watch(&KeyRange::all(), first).await?;
        let told = items.next().await.unwrap().unwrap_err();
        assert_eq!(told.kind(), ErrorKind::TooOld);
        assert!(items.next().await.is_none());
        let mut items = watches.watch(&KeyRange::all(), None).await?;
        store.put(&7, &"later".to_owned()).await?;
        let event = items.next().await.unwrap()?;
        assert_eq!(event.kind, EventKind::put(7, "later".to_owned()));
        Ok::<(), kv_trait::Error>(())
    })
    .unwrap();
}

#[test]
fn an_error_of_the_prefix_or_of_a_closed_store_is_the_one_item() {
    with::<String, u64>(async |store, _| {
        let long = "x".repeat(kv_trait::KEY_BYTES_MAX + 1);
        let mut stream = store.watch(long.as_str());
        assert_eq!(
            next(&mut stream).await.unwrap_err().kind(),
            ErrorKind::TooLarge
        );
        assert!(stream.next().await.is_none());
        store.close().await?;
        let mut stream = store.watch("");
        assert_eq!(
            next(&mut stream).await.unwrap_err().kind(),
            ErrorKind::Closed
        );
        assert!(stream.next().await.is_none());
        Ok(())
    });
}

#[test]
fn a_value_with_a_time_to_live_is_shown_with_its_end() {
    with::<u32, String>(async |store, _| {
        let mut stream = store.watch_range(..);
        let ttl = Duration::from_secs(3600);
        store.put_with_ttl(&1, &"value".to_owned(), ttl).await?;
        let expected = store.expires_at(&1).await?;
        assert!(expected.is_some());
        match next(&mut stream).await?.kind {
            EventKind::Put { expires_at, .. } => assert_eq!(expires_at, expected),
            kind => panic!("{kind:?}"),
        }
        Ok(())
    });
}
