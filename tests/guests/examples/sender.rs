//! Sends numbered raw messages as fast as it is let, or calls one after the other.

#[ambrosia::interface]
trait Receiver {
    #[ambrosia(raw)]
    fn receive(bytes: &[u8]);
}

#[ambrosia::interface]
trait Counter {
    fn add(n: u64) -> u64;
}

#[ambrosia::state]
struct Sender {
    target: Option<Receiver>,
    message: Vec<u8>,
    /// The number of the next message; numbers are counted through from one `start` to the next.
    next: u64,
    until: u64,
    batch: u64,
    last_result: u64,
}

#[ambrosia::immortal]
impl Sender {
    /// Forks `count` messages of `bytes` bytes, at least 8, to the raw method `receive` of `target`: each begins with
    /// its number, 8 bytes little-endian. `batch` of them go out in one delivery.
    fn start(&mut self, target: String, count: u64, batch: u64, bytes: u32) {
        self.target = Some(Receiver::attach(&target));
        self.message = vec![0; (bytes as usize).max(size_of::<u64>())];
        self.until = self.next + count;
        self.batch = batch.max(1);
        self.send_batch(&[]);
    }

    /// The own fork that makes the next delivery.
    #[ambrosia(raw)]
    fn send_batch(&mut self, _nothing: &[u8]) {
        let Some(target) = self.target else { return };
        let end = self.until.min(self.next + self.batch);
        let fork = target.fork();
        while self.next < end {
            self.message[..size_of::<u64>()].copy_from_slice(&self.next.to_le_bytes());
            fork.receive(&self.message);
            self.next += 1;
        }
        if self.next < self.until {
            SenderProxy::me().fork().send_batch([]);
        }
    }

    /// How many messages were sent.
    #[ambrosia(update)]
    fn progress(&self) -> u64 {
        self.next
    }

    /// Calls `add(1)` of `target` again and again, each after the answer to the one before.
    async fn call_all(this: ambrosia::This<Self>, target: String, count: u64) -> u64 {
        let counter = Counter::attach(&target);
        for _ in 0..count {
            let result = counter.add(1).await.expect("the target is a counter");
            this.with(|sender| sender.last_result = result);
        }
        this.with(|sender| sender.last_result)
    }

    #[ambrosia(update)]
    fn last_result(&self) -> u64 {
        self.last_result
    }
}
