//! What a shell and a manual know of this program: `completion`, `man`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  source <(ambrosia-host completion bash)                # in ~/.bashrc
  source <(ambrosia-host completion zsh)                 # in ~/.zshrc, behind compinit
  ambrosia-host completion fish | source                 # in ~/.config/fish/config.fish

Verbs, flags and the instances of the store are completed.")]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// A shell that can be told how to complete.
#[derive(Clone, Copy, ValueEnum, Debug)]
pub(crate) enum Shell {
    /// bash 4 or newer
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

impl Shell {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Shell::Bash => "bash",
            Shell::Zsh => "zsh",
            Shell::Fish => "fish",
        }
    }
}

#[derive(Args, Debug)]
#[command(after_help = "Example:
  ambrosia-host man ~/.local/share/man/man1
  man ambrosia-host-send")]
pub(crate) struct Man {
    /// Directory for the pages; it is made if it is not there
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}
