//! A total and a list, of which every change answers what it has made of them: so whoever has all answers knows the order of all changes.

#[ambrosia::state]
struct History {
    total: u64,
    list: Vec<u64>,
}

#[ambrosia::immortal]
impl History {
    fn add(&mut self, n: u64) -> u64 {
        self.total += n;
        self.total
    }

    fn total(&self) -> u64 {
        self.total
    }

    /// Appends to the list, and prints what and where. Answers with how long the list is now.
    fn append(&mut self, value: u64) -> u64 {
        self.list.push(value);
        println!("appended {value} as {}", self.list.len());
        self.list.len() as u64
    }

    fn list(&self) -> Vec<u64> {
        self.list.clone()
    }
}
