//! The code that a model runs: a version that shows in all that it brings about, and what it does in an upgrade.

/// The code of a model, which stands for a module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Code {
    /// 0 for the module that an instance is registered with.
    pub version: u32,
    /// What it does when it takes over, or hands over.
    pub behaviour: Behaviour,
}

macro_rules! behaviours {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What code does when it takes over, or hands over.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub enum Behaviour {
            #[default]
            $($(#[$doc])* $name,)*
        }

        impl Behaviour {
            /// All of them.
            pub const ALL: &[Behaviour] = &[$(Behaviour::$name),*];
        }
    };
}

behaviours! {
    /// It takes over, cancels timers, sets others, and sends.
    Takes,
    /// It takes over once no call waits.
    TakesWithoutCalls,
    /// It refuses what it is handed.
    Refuses,
    /// It draws a random number, attaches a peer, and traps.
    Traps,
    /// It takes over, and one of its effects is at fault.
    IsAtFault,
    /// It exits at once.
    Exits,
    /// It takes over, and will trap when it is to hand over.
    NeverHandsOver,
    /// It takes over, and will be lost when it is to hand over.
    IsLost,
}

const MARK: &[u8; 8] = b"a model ";

impl Code {
    /// The hash by which a log names it.
    pub fn module(self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(MARK);
        hash[8..12].copy_from_slice(&self.version.to_le_bytes());
        hash[12] = self.behaviour as u8;
        hash
    }

    /// The code of that hash.
    ///
    /// # Panics
    /// If there is none.
    pub fn of(module: [u8; 32]) -> Code {
        assert_eq!(module[..8], *MARK, "only models are simulated");
        let version = u32::from_le_bytes(module[8..12].try_into().expect("four bytes"));
        Code { version, behaviour: Behaviour::ALL[usize::from(module[12])] }
    }

    /// As one number.
    pub(crate) fn number(self) -> u64 {
        u64::from(self.version) << 8 | self.behaviour as u64
    }

    /// The code of that number.
    pub(crate) fn of_number(number: u64) -> Code {
        Code { version: (number >> 8) as u32, behaviour: Behaviour::ALL[(number & 0xff) as usize] }
    }

    /// Whether it can handle poison.
    pub fn survives(self) -> bool {
        self.version % 3 == 1
    }

    /// Whether it tells how many calls wait.
    pub(crate) fn tells(self) -> bool {
        self.version % 2 == 1
    }
}
