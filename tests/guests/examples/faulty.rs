//! What a guest must not do, one method each.

use std::hint::black_box;

use ambrosia::{__private::push_effect_bytes, Peer, This};

#[ambrosia::state]
struct Faulty {
    hoard: Vec<Vec<u8>>,
}

#[ambrosia::immortal]
impl Faulty {
    #[ambrosia(update)]
    fn ok(&self) -> u32 {
        42
    }

    fn trap(&mut self) {
        panic!("it was asked to");
    }

    /// Traps without a word.
    fn stop(&mut self) {
        #[cfg(target_arch = "wasm32")]
        core::arch::wasm32::unreachable();
        #[cfg(not(target_arch = "wasm32"))]
        std::process::abort();
    }

    fn spin(&mut self) {
        loop {
            black_box(&self);
        }
    }

    /// Allocates until there is no more memory.
    fn exhaust(&mut self) {
        loop {
            self.hoard.push(black_box(vec![1; 1 << 20]));
        }
    }

    /// Recurses until there is no more stack.
    fn deep(&mut self) -> u64 {
        descend(black_box(1))
    }

    /// A text of that many bytes.
    #[ambrosia(update)]
    fn text_of(&self, bytes: usize) -> String {
        "x".repeat(bytes)
    }

    /// The same as raw bytes, as many as `bytes` says in decimal digits.
    #[ambrosia(raw)]
    fn bytes_of(&self, bytes: &[u8]) -> Vec<u8> {
        let count = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
        vec![b'x'; count.expect("a number")]
    }

    /// Calls itself with that many bytes, and says why that can't be.
    async fn call_with(_this: This<Self>, bytes: usize) -> Result<(), String> {
        let answer = Peer::me().call_raw("ok", &vec![0; bytes]).await;
        answer.map(drop).map_err(|error| error.to_string())
    }

    /// Forks that many bytes to itself, as they are and as a text, and says why that can't be.
    #[ambrosia(update)]
    fn fork_with(&self, bytes: usize) -> [Result<(), String>; 2] {
        let forks = [Peer::me().try_fork_raw("ok", &vec![0; bytes]), Peer::me().try_fork("ok", ("x".repeat(bytes),))];
        forks.map(|fork| fork.map_err(|error| error.to_string()))
    }

    /// Prints that many bytes.
    fn print_many(&self, bytes: usize) {
        print!("{}", "x".repeat(bytes));
    }

    /// Attaches an instance whose name comes from the caller.
    #[ambrosia(name = "attach_one")]
    #[ambrosia(update)]
    fn attach_named(&self, name: String) -> Result<String, String> {
        Peer::try_attach(&name).map(Peer::name).map_err(|error| error.to_string())
    }

    /// The same by the type of the argument.
    #[ambrosia(update)]
    fn take_peer(&self, peer: Peer) -> String {
        peer.name()
    }

    fn exit_with(&mut self, code: i32) {
        ambrosia::exit(code);
    }

    /// Returns effects that can't be: `cut`, `kind`, `unknown-kind`, `target`, `outside` or `reserved`.
    fn bad_effects(&mut self, which: String) {
        const FORK: u8 = 1;
        const IMPULSE: u8 = 5;
        match which.as_str() {
            "cut" => push_effect_bytes(&effect(1, FORK, 0)[..20]),
            "kind" => push_effect_bytes(&effect(0, IMPULSE, 0)),
            "unknown-kind" => push_effect_bytes(&effect(0, 99, 0)),
            "target" => push_effect_bytes(&effect(1_000_000, FORK, 0)),
            "outside" => push_effect_bytes(&effect(0, FORK, 0)),
            "reserved" => push_effect_bytes(&effect(0, FORK, 1)),
            _ => panic!("{which:?} is no kind of bad effects"),
        }
    }
}

/// An effect without arguments, caused by the first message.
fn effect(target: u32, kind: u8, reserved: u8) -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[4..8].copy_from_slice(&target.to_le_bytes());
    bytes[24] = kind;
    bytes[25] = reserved;
    bytes
}

#[expect(unconditional_recursion, reason = "it is to end with the stack")]
fn descend(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    descend(depth + 1) + room[(depth % 64) as usize]
}
