//! A bank that keeps account of everything: money that moves between banks and must be conserved, numbered messages of
//! any size, and the turn of every client. What is lost, doubled, reordered or changed on the way shows in `report`.

use std::{collections::BTreeMap, time::Duration};

use ambrosia::This;

/// Between two ticks: what a bank does by itself.
const TICK: Duration = Duration::from_millis(50);

/// Bytes in front of the pattern of a message: its number.
const NUMBER_BYTES: usize = size_of::<u64>();
/// Bytes in front of the pattern of a `put`: the client, and the number of its request.
const TURN_BYTES: usize = 2 * size_of::<u64>();

#[ambrosia::state]
struct Bank {
    /// All banks together have nothing; one alone may owe.
    balance: i64,
    /// Requests begun.
    serial: u64,
    /// Money that was sent off and not yet said to have arrived.
    under_way: u64,
    deposits: u64,
    failed_calls: u64,
    /// The number of the last request of each client, which counts them from 1.
    turns: BTreeMap<u64, u64>,
    out_of_turn: u64,
    posted: Stream,
    received: Stream,
    misnumbered: u64,
    changed: u64,
    /// Mixed from everything that was handled, in its order.
    history: u64,
    reigns: u64,
    ticks: u64,
}

/// Messages one way.
#[ambrosia::state]
struct Stream {
    count: u64,
    bytes: u64,
    checksum: u64,
}

#[ambrosia::immortal]
impl Bank {
    /// A replica that takes itself for the primary goes on ticking, and what it prints can be seen.
    fn on_first_start(&mut self) {
        let this = This::<Self>::current();
        ambrosia::spawn(async move {
            loop {
                ambrosia::sleep(TICK).await;
                this.with(|bank| {
                    bank.ticks += 1;
                    println!("tick {}", bank.ticks);
                });
            }
        });
    }

    fn on_becoming_primary(&mut self) {
        self.reigns += 1;
    }

    /// A request that does nothing but count. Answers with its number among all.
    fn add(&mut self, client: u64, number: u64) -> u64 {
        self.begin(client, number)
    }

    /// Moves money to another bank, which moves a part of it back, and so on, `depth` times. Answers with the number
    /// of the request, and how often money arrived.
    async fn transfer(
        this: This<Self>,
        client: u64,
        number: u64,
        to: BankProxy,
        amount: i64,
        depth: u32,
    ) -> (u64, u32) {
        let serial = this.with(|bank| bank.begin(client, number));
        (serial, Bank::send_money(&this, to, amount, depth).await)
    }

    /// Takes money, and moves a part of it back if there is depth left. Answers how often money arrived.
    async fn deposit(this: This<Self>, from: BankProxy, amount: i64, depth: u32) -> u32 {
        this.with(|bank| {
            bank.balance += amount;
            bank.deposits += 1;
            bank.remember(amount.unsigned_abs());
        });
        match depth.checked_sub(1) {
            None => 1,
            Some(less) => Bank::send_money(&this, from, amount / 2 + 1, less).await + 1,
        }
    }

    /// Forks one numbered message of each size to another bank. Answers with the number of the request.
    fn post(&mut self, client: u64, number: u64, to: BankProxy, sizes: Vec<u32>) -> u64 {
        let serial = self.begin(client, number);
        for size in sizes {
            let message = message(self.posted.count, (size as usize).max(NUMBER_BYTES));
            self.posted.take(&message);
            to.fork().receive(message);
        }
        serial
    }

    /// Takes a message of [`Bank::post`].
    #[ambrosia(raw)]
    fn receive(&mut self, bytes: &[u8]) {
        let number = word(bytes);
        self.misnumbered += u64::from(number != self.received.count);
        self.changed += u64::from(message(number, bytes.len()) != bytes);
        self.received.take(bytes);
        self.remember(number);
    }

    /// Takes bytes: the client, the number of its request, and a pattern seeded by that number. Answers with the number
    /// of the request among all, and how many bytes came.
    #[ambrosia(raw)]
    fn put(&mut self, bytes: &[u8]) -> Vec<u8> {
        let (client, number) = (word(bytes), word(&bytes[NUMBER_BYTES..]));
        let serial = self.begin(client, number);
        let mut expected = bytes[..TURN_BYTES].to_vec();
        append_pattern(&mut expected, number, bytes.len());
        self.changed += u64::from(expected != bytes);
        [serial.to_le_bytes(), (bytes.len() as u64).to_le_bytes()].concat()
    }

    /// Everything, by name.
    #[ambrosia(update)]
    fn report(&self) -> BTreeMap<String, i64> {
        let last_requests = self.turns.iter().map(|(client, last)| (format!("requests of {client}"), *last as i64));
        let all = [
            ("balance", self.balance),
            ("serial", self.serial as i64),
            ("under way", self.under_way as i64),
            ("deposits", self.deposits as i64),
            ("failed calls", self.failed_calls as i64),
            ("out of turn", self.out_of_turn as i64),
            ("posted", self.posted.count as i64),
            ("posted bytes", self.posted.bytes as i64),
            ("posted checksum", self.posted.checksum as i64),
            ("received", self.received.count as i64),
            ("received bytes", self.received.bytes as i64),
            ("received checksum", self.received.checksum as i64),
            ("misnumbered", self.misnumbered as i64),
            ("changed", self.changed as i64),
            ("history", self.history as i64),
            ("reigns", self.reigns as i64),
            ("ticks", self.ticks as i64),
        ];
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(last_requests).collect()
    }

    #[ambrosia(helper)]
    fn begin(&mut self, client: u64, number: u64) -> u64 {
        let last = self.turns.entry(client).or_default();
        self.out_of_turn += u64::from(number != *last + 1);
        *last = number;
        self.serial += 1;
        println!("request {number} of {client}");
        self.remember(client);
        self.remember(number);
        self.serial
    }

    #[ambrosia(helper)]
    fn remember(&mut self, value: u64) {
        self.history = mix(self.history, value);
    }

    #[ambrosia(helper)]
    async fn send_money(this: &This<Self>, to: BankProxy, amount: i64, depth: u32) -> u32 {
        this.with(|bank| {
            bank.balance -= amount;
            bank.under_way += 1;
        });
        let arrivals = to.deposit(BankProxy::me(), amount, depth).await;
        this.with(|bank| {
            bank.under_way -= 1;
            bank.failed_calls += u64::from(arrivals.is_err());
            bank.remember(u64::from(depth));
        });
        arrivals.unwrap_or(0)
    }
}

impl Stream {
    fn take(&mut self, bytes: &[u8]) {
        self.count += 1;
        self.bytes += bytes.len() as u64;
        self.checksum = bytes.chunks(NUMBER_BYTES).fold(self.checksum, |sum, chunk| mix(sum, word(chunk)));
    }
}

/// The first eight bytes; what is missing counts as zeros.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; NUMBER_BYTES];
    let known = bytes.len().min(NUMBER_BYTES);
    word[..known].copy_from_slice(&bytes[..known]);
    u64::from_le_bytes(word)
}

fn message(number: u64, bytes: usize) -> Vec<u8> {
    let mut message = Vec::with_capacity(bytes + NUMBER_BYTES);
    message.extend(number.to_le_bytes());
    append_pattern(&mut message, number, bytes);
    message
}

/// Fills up to `bytes` in all. The words are those of SplitMix64, as the tests' own clients make them.
fn append_pattern(to: &mut Vec<u8>, seed: u64, bytes: usize) {
    let mut state = seed;
    while to.len() < bytes {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        to.extend((z ^ (z >> 31)).to_le_bytes());
    }
    to.truncate(bytes);
}

/// Depends on the order of what is mixed in.
fn mix(start: u64, value: u64) -> u64 {
    (start ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
}
