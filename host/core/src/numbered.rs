//! Enums whose variants have published numbers.

/// Defines an enum with the number of each variant beside it, so that none is without one, and reading a number can't
/// leave out a variant.
macro_rules! numbered {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $number,)*
        }

        impl $name {
            /// All there are, in the order of their numbers.
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// The one with that number, if there is one.
            pub const fn from_byte(byte: u8) -> Option<$name> {
                match byte {
                    $($number => Some($name::$variant),)*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use numbered;
