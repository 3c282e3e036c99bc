//! Two instances that call each other while they await each other.

use ambrosia::This;

/// Calls go this deep at most.
const DEPTHS: u32 = 8;

#[ambrosia::state]
struct Mutual {
    finished: u32,
    failed: u32,
    bounced: u64,
}

#[ambrosia::immortal]
impl Mutual {
    /// Makes `n` calls to `other` at once, of several depths.
    fn start(this: This<Self>, other: MutualProxy, n: u32) {
        for at in 0..n {
            ambrosia::spawn(async move {
                let depth = at % DEPTHS;
                let answer = other.bounce(MutualProxy::me(), depth).await;
                this.with(|mutual| match answer {
                    Ok(bounces) if bounces == depth => mutual.finished += 1,
                    _ => mutual.failed += 1,
                });
            });
        }
    }

    /// Calls `back` with one less, until nothing is left. Answers how often that was.
    async fn bounce(this: This<Self>, back: MutualProxy, depth: u32) -> u32 {
        this.with(|mutual| mutual.bounced += 1);
        match depth.checked_sub(1) {
            None => 0,
            Some(less) => back.bounce(MutualProxy::me(), less).await.expect("both run this program") + 1,
        }
    }

    /// Own calls that came back right, own calls that did not, and calls handled.
    #[ambrosia(update)]
    fn report(&self) -> (u32, u32, u64) {
        (self.finished, self.failed, self.bounced)
    }
}
