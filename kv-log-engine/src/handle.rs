//! An open store, put together: the parts, who owns which of them, and what the end of the last handle means.

use crate::background::Background;
use crate::batch::Batch;
use crate::chore::Chores;
use crate::chore::ground::Ground;
use crate::chore::tuning::Tuning;
use crate::chore::visible::Visible;
use crate::clock::Clock;
use crate::commit::CommitQueue;
use crate::commit::active::Active;
use crate::commit::group::LogWriter;
use crate::commit::keeping::Keeping;
use crate::commit::poison::Poison;
use crate::commit::rotate::Rotation;
use crate::commit::upkeep::{LogTail, Upkeep};
use crate::fault;
use crate::format::ids::Seqno;
use crate::format::manifest::RunEntry;
use crate::host::Host;
use crate::index::Published;
use crate::index::cache::PieceCache;
use crate::index::levels::Levels;
use crate::index::views::Views;
use crate::log::files::SegmentFiles;
use crate::log::followers::{Followers, Known};
use crate::log::writer::SegmentWriter;
use crate::open::Opened;
use crate::options::Options;
use crate::recovery::{RecoveryReport, settle};
use crate::scan::Deadline;
use crate::stats::{Counters, read};
use crate::store::catalog::Catalog;
use crate::store::lock::{self, OpeningId};
use crate::store::reserve::Reserve;
use crate::turns::Turns;
use kv_trait::{Effect, Error, ErrorKind, Fingerprint, Result};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A log that holds no more than this beside what runs have is not worth a new segment.
const WORTH_A_SEGMENT: u64 = 64 * 1024;

/// What all handles of a store share. The last of them to go drops the store.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) queue: Arc<CommitQueue<LogWriter>>,
    pub(crate) published: Arc<Published>,
    pub(crate) files: Arc<SegmentFiles>,
    pub(crate) cache: Arc<PieceCache>,
    pub(crate) background: Arc<Background>,
    pub(crate) views: Arc<Views>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) tail: Arc<LogTail>,
    pub(crate) followers: Arc<Followers>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) poison: Poison,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) report: RecoveryReport,
    pub(crate) path: PathBuf,
    pub(crate) memory_bytes: u64,
    opening: OpeningId,
    closed: AtomicBool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // From here on an open in this process waits for the running leader instead of being refused.
        lock::mark_closing(self.opening);
        self.background.stop();
        self.views.close();
        self.queue.drop_last();
    }
}

impl Handle {
    /// Repairs what the open found, and puts together what serves it.
    ///
    /// # Errors
    /// `Io`, `StorageFull`: the open is refused; the next one does the same again.
    pub(crate) fn serve(opened: Opened, options: Options) -> Result<Arc<Self>> {
        let Opened {
            lock,
            files,
            mut recovered,
            fingerprint,
            changes,
        } = opened;
        let budgets = options.budgets(recovered.manifest.segment_bytes)?;
        let lock = Arc::new(lock);
        let catalog = Arc::new(Catalog::new(
            files.shared_storage(),
            files.directory().to_path_buf(),
            recovered.manifest.clone(),
            recovered.next_id,
        ));
        let reserve = Arc::new(Reserve::new(
            files.shared_storage(),
            files.directory().to_path_buf(),
        ));
        let must_not_write = recovered.manifest.must_not_write();
        let refusal = must_not_write.map(|defect| fault::must_not_write(files.directory(), defect));
        let (file, left) = settle::at_open(
            &files,
            &catalog,
            &reserve,
            &mut recovered,
            changes,
            budgets.unit_bytes,
            refusal.as_ref(),
        )?;
        let settled = left.is_none() && refusal.is_none();
        let attempt = random_attempt(&*options.host)?;
        let active = recovered.active;
        let segment = SegmentWriter::resume(
            active.segment,
            file,
            active.base_seqno,
            recovered.manifest.segment_bytes,
            active.end,
            active.contents,
            active.sealed,
        )
        .with_length(active.length);
        let manifest = &recovered.manifest;
        let cache = PieceCache::new(budgets.cache_bytes);
        let levels = Levels::open(
            &manifest.runs,
            manifest.store_id,
            Arc::clone(&files),
            Arc::clone(&cache),
        );
        let covered = manifest.checkpoint.map_or(Seqno::ZERO, |c| c.seqno);
        let clock = Arc::new(Clock::new(Arc::clone(&options.host), manifest.clock_ms));
        let expires = |run: &RunEntry| run.expiring.is_some();
        if recovered.memtable.expires() || manifest.runs.iter().any(expires) {
            clock.note_use();
        }
        let log = manifest.segments.iter().filter(|entry| entry.is_log());
        let log = log.filter_map(|entry| {
            Some(Known {
                segment: Arc::clone(recovered.segments.get(&entry.id)?),
                base_seqno: entry.base_seqno,
                end: entry.end,
            })
        });
        let followers = Followers::new(log, active.end);
        let published = Arc::new(Published::new(
            recovered.memtable,
            covered,
            active.end.next_seqno.previous(),
            levels,
            recovered.segments,
            recovered.tables,
            Arc::clone(&clock),
        ));
        let tail = Arc::new(LogTail::new(recovered.replayed_bytes));
        let counters = Arc::new(Counters::default());
        let poison = Poison::default();
        let views = Arc::<Views>::default();
        let chores = Chores::new(Ground {
            files: Arc::clone(&files),
            catalog: Arc::clone(&catalog),
            layers: Arc::new(Visible {
                published: Arc::clone(&published),
                tail: Arc::clone(&tail),
                followers: Arc::clone(&followers),
            }),
            views: Arc::clone(&views),
            reserve: Arc::clone(&reserve),
            poison: poison.clone(),
            lock: Arc::downgrade(&lock),
            host: Arc::clone(&options.host),
            clock: Arc::clone(&clock),
            tuning: Tuning::of(&budgets),
            process_id: options.host.process_id(),
            counters: Arc::clone(&counters.chores),
        });
        if settled {
            chores.settled();
        }
        let background = if options.chore_thread {
            Background::with_thread(Arc::clone(&chores))?
        } else {
            Background::new(Arc::clone(&chores), options.asked.tuning.by_hand)
        };
        let opening = lock.opening();
        let writer = LogWriter::new(
            Active::new(
                segment,
                Arc::clone(&counters),
                Arc::clone(&followers),
                poison.clone(),
                Arc::clone(&options.host),
                attempt,
            ),
            Rotation::new(
                Arc::clone(&files),
                Arc::clone(&catalog),
                Keeping::new(
                    reserve,
                    Arc::clone(&catalog),
                    files.directory().to_path_buf(),
                    budgets.unit_bytes,
                    budgets.disk_bytes_max,
                ),
                left,
                refusal,
                options.segments_max,
                lock,
            ),
            Arc::clone(&published),
            chores as Arc<dyn Upkeep>,
            Arc::clone(&tail),
        );
        let host = Arc::clone(&options.host);
        let queue = CommitQueue::new(writer, options.limits, Arc::new(move || host.now()));
        let handle = Arc::new(Self {
            queue,
            published,
            path: files.directory().to_path_buf(),
            files,
            cache,
            background,
            views,
            turns: Arc::default(),
            catalog,
            host: options.host,
            clock,
            tail,
            followers,
            counters,
            poison,
            fingerprint,
            report: recovered.report,
            memory_bytes: budgets.memory_bytes,
            opening,
            closed: AtomicBool::new(false),
        });
        let handles: Weak<Self> = Arc::downgrade(&handle);
        lock::mark_open(opening, handles);
        Ok(handle)
    }

    /// # Errors
    /// `Closed`.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            Err(fault::closed())
        } else {
            Ok(())
        }
    }

    /// The moment at which a view is opened now, and by the options its last one.
    pub(crate) fn view_terms(&self) -> (Duration, Option<Deadline>) {
        let now = self.host.now();
        let age_max = self.background.chores().view_age_max();
        let until = age_max.map(|max| (Arc::clone(&self.host), now.saturating_add(max)));
        (now, until)
    }

    /// Freezes the memtable, so that a checkpoint writes what it holds now, unless one is frozen already; the log goes on in
    /// a new segment. Where there is nothing to write nothing happens. Blocks: it takes its turn among the writes, and pays what an open left to be done before the first
    /// change.
    ///
    /// # Errors
    /// As for a write.
    pub(crate) fn freeze(&self) -> Result<()> {
        if self.tail_records() == 0 && read(&self.counters.active_bytes) < WORTH_A_SEGMENT {
            return Ok(());
        }
        self.queue.submit(Batch::freezing())?.wait()?;
        // The next group's turn is when segments change, also where it writes nothing.
        self.queue.submit(Batch::new())?.wait().map(drop)
    }

    /// Closes the store: what was accepted is finished, what is long to replay becomes a run, the end is marked, the lock
    /// is free.
    ///
    /// # Errors
    /// As for [`crate::Engine::close`].
    pub(crate) fn close(&self) -> Result<()> {
        self.queue.refuse_if_leading()?;
        // From here on an open in this process waits, as after a drop.
        lock::mark_closing(self.opening);
        let closer = self.queue.begin_close()?;
        self.closed.store(true, Ordering::Release);
        self.views.close();
        let mut writer = closer.writer;
        if Chores::tail_is_long(self.tail.bytes(), self.tail_records()) {
            writer.freeze();
        }
        // What a chore cannot do is left to the next process: nothing that was acknowledged depends on it. If it has left
        // the manifest in doubt, the close below says so.
        let was_poisoned = self.poison.is_set();
        let chores = self.background.chores().finish_for_close();
        self.background.stop();
        self.background.join();
        // Asked before the close, which poisons for reasons of its own, and tells them.
        let by_chores = !was_poisoned && self.poison.is_set();
        let mut closed = writer.close();
        if let (Err(error), true) = (chores, by_chores) {
            // The first cause is the one to tell. Everything acknowledged is safe, unless the store was taken away.
            let effect = match error.kind() {
                ErrorKind::Locked => Effect::Unknown,
                _ => Effect::Nothing,
            };
            closed = Err(error.with_effect(effect));
        }
        drop(writer);
        self.published.close(); // on this thread, which may block; drops of handles have nothing left to free
        closed
    }

    /// Records that runs do not have.
    fn tail_records(&self) -> u64 {
        let view = self.published.view();
        let frozen = view.frozen().filter(|(_, written)| !written);
        let frozen = frozen.map_or(0, |(frozen, _)| frozen.memtable.len());
        (view.memtable().len() + frozen + view.erased_behind_runs()) as u64
    }
}

/// The first attempt number of this open: random, so that it differs from those of the open before.
fn random_attempt(host: &dyn Host) -> Result<u64> {
    let random = host.random().map_err(|source| {
        Error::new(ErrorKind::Io, "cannot get random bits").with_source(source)
    })?;
    let mut half = [0; 8];
    half.copy_from_slice(&random[..8]);
    Ok(u64::from_le_bytes(half))
}
