//! Prints, so that it can be seen when and how often that shows.

use std::io::Write;

#[ambrosia::state]
struct Printer {
    lines: u64,
}

#[ambrosia::immortal]
impl Printer {
    fn on_first_start(&mut self) {
        println!("first start");
    }

    fn on_becoming_primary(&mut self) {
        println!("primary");
    }

    /// Prints the number of the line, from 1, and `text`.
    fn say(&mut self, text: String) {
        self.lines += 1;
        println!("{} {text}", self.lines);
    }

    /// The same on standard error.
    fn complain(&mut self, text: String) {
        self.lines += 1;
        eprintln!("{} {text}", self.lines);
    }

    /// Prints `text` to both, without an end of the line.
    fn mutter(&mut self, text: String) {
        print!("{text}");
        eprint!("{text}");
        std::io::stdout().flush().expect("the host takes what is printed");
    }
}
