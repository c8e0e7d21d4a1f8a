use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::yield_now;

/// Writes to a connection what all tasks that are ready have to say in one go.
///
/// A thread of tokio's pool runs a task that was woken by another one right after it. So the task that moves the bytes of a connection would
/// run after each command, and write it by itself: a system call for each command here, and one at the server, and one for its answer. Here
/// it lets the others come first, and again as long as that brings more, some times at the most.
///
/// A runtime of one thread takes tasks in the order in which they were woken; to let others come first would only make it look for news of
/// the system each time.
pub(crate) struct Gathering<S> {
    stream: S,
    /// How often it may wait between two flushes.
    most_waits: u8,
    /// How often it has waited since it was flushed, and how much there was to write then.
    waits: u8,
    length: usize,
}

impl<S> Gathering<S> {
    /// Takes a stream that is written to by a task of this runtime.
    pub(crate) fn new(stream: S) -> Self {
        let is_pool = Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
        Self::with_waits(stream, if is_pool { MOST_WAITS } else { 0 })
    }

    const fn with_waits(stream: S, most_waits: u8) -> Self {
        Self { stream, most_waits, waits: 0, length: 0 }
    }

    /// Waits for the others before the first of what is written until it is flushed; `length` is what there is to write now.
    fn gather(&mut self, length: usize, cx: &mut Context<'_>) -> Poll<()> {
        let brought_nothing = self.waits > 0 && length <= self.length;
        if brought_nothing || self.waits >= self.most_waits {
            return Poll::Ready(());
        }
        self.waits += 1;
        self.length = length;
        // Its first poll notes whom to wake.
        pin!(yield_now()).poll(cx)
    }
}

/// Where one task after the other comes with a command it is as many commands, for each of them wakes who moves the bytes.
const MOST_WAITS: u8 = 16;

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.gather(bytes.len(), cx));
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.gather(slices.iter().map(|slice| slice.len()).sum(), cx));
        Pin::new(&mut this.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = ready!(Pin::new(&mut this.stream).poll_flush(cx));
        (this.waits, this.length) = (0, 0);
        Poll::Ready(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::io::AsyncWriteExt as _;
    use tokio::sync::mpsc;
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    /// Keeps each piece that is written.
    #[derive(Clone, Default)]
    struct Pieces(Rc<RefCell<Vec<Vec<u8>>>>);

    impl AsyncWrite for Pieces {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.borrow_mut().push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn everybody_comes_before_the_first_piece_and_each_flush_waits_anew() {
        let pieces = Pieces::default();
        let mut stream = Gathering::with_waits(pieces.clone(), MOST_WAITS);
        let others = Rc::new(RefCell::new(0));
        let local = LocalSet::new();
        local
            .run_until(async {
                for round in 1..=3 {
                    for _ in 0..10 {
                        let others = Rc::clone(&others);
                        spawn_local(async move { *others.borrow_mut() += 1 });
                    }
                    stream.write_all(b"one").await.unwrap();
                    assert_eq!(*others.borrow(), 10 * round, "they ran before it was written");
                    stream.write_all(b"two").await.unwrap();
                    stream.flush().await.unwrap();
                    assert_eq!(pieces.0.borrow().len(), 2 * round, "and none was written twice");
                }
            })
            .await;
    }

    #[tokio::test]
    async fn where_one_thread_runs_all_nobody_is_waited_for() {
        let mut stream = Gathering::new(Pieces::default());
        let written = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut stream).poll_write(cx, b"one"))).await;
        assert!(written.is_ready());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn in_a_pool_the_others_are_waited_for() {
        tokio::spawn(async {
            let mut stream = Gathering::new(tokio::io::sink());
            let written = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut stream).poll_write(cx, b"one"))).await;
            assert!(written.is_pending());
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn what_tasks_say_at_once_is_written_at_once() {
        let pieces = Pieces::default();
        let mut stream = Gathering::with_waits(pieces.clone(), MOST_WAITS);
        let (sender, mut receiver) = mpsc::unbounded_channel::<&[u8]>();
        LocalSet::new()
            .run_until(async {
                let writer = spawn_local(async move {
                    let mut buffer = Vec::new();
                    while let Some(first) = receiver.recv().await {
                        buffer.extend(first);
                        // As a codec does: what comes while it waits is written with the rest.
                        std::future::poll_fn(|cx| {
                            while let Ok(more) = receiver.try_recv() {
                                buffer.extend(more);
                            }
                            Pin::new(&mut stream).poll_write(cx, &buffer)
                        })
                        .await
                        .unwrap();
                        buffer.clear();
                        stream.flush().await.unwrap();
                    }
                });
                for _ in 0..10 {
                    let sender = sender.clone();
                    spawn_local(async move { sender.send(b"x").unwrap() });
                }
                drop(sender);
                writer.await.unwrap();
            })
            .await;
        assert_eq!(*pieces.0.borrow(), [b"xxxxxxxxxx".to_vec()]);
    }
}
