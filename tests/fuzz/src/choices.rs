//! Reads bytes as a list of choices, so that any bytes are a course of events.

/// Bytes not used yet. At their end every choice is zero, and every string empty.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// The choices in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Choices(bytes)
    }

    /// True if all were used.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// One of so many.
    pub fn below(&mut self, count: u8) -> u8 {
        self.byte() % count
    }

    /// Yes or no.
    pub fn chance(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Small in one byte, anything in nine, and the ends of the range in one.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            255 => {
                let (head, tail) = self.0.split_at(self.0.len().min(8));
                self.0 = tail;
                let mut number = [0; 8];
                number[..head.len()].copy_from_slice(head);
                u64::from_le_bytes(number)
            }
            small @ 0..=239 => u64::from(small),
            near_the_end => u64::MAX - u64::from(254 - near_the_end),
        }
    }

    /// As many bytes as a byte says.
    pub fn bytes(&mut self) -> &'a [u8] {
        let count = usize::from(self.byte());
        self.take(count)
    }

    /// So many bytes, or as many as are left.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(self.0.len().min(count));
        self.0 = tail;
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_small_or_anything_or_at_the_end_of_the_range() {
        let mut choices = Choices::new(&[7, 254, 240, 255, 1, 0, 0, 0, 0, 0, 0, 1]);
        let numbers = [(); 5].map(|()| choices.number());
        assert_eq!(numbers, [7, u64::MAX, u64::MAX - 14, (1 << 56) + 1, 0]);
    }

    #[test]
    fn strings_end_where_the_bytes_do() {
        let mut choices = Choices::new(&[2, b'a', b'b', 9, b'c']);
        assert_eq!((choices.bytes(), choices.bytes(), choices.bytes()), (&b"ab"[..], &b"c"[..], &b""[..]));
        assert!(choices.is_empty());
    }
}
