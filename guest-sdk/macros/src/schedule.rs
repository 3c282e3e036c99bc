//! `#[ambrosia(cron = "..", zone = "..", missed = "..")]`.
//!
//! What is wrong with an expression is told where it stands. The host, which has the calendar, reads it once more when a module is
//! registered.

use quote::{ToTokens, quote};
use syn::{Error, LitStr, Result, Signature, Type, spanned::Spanned};

use crate::{attribute::MethodOptions, signature::Argument};

/// When a method runs by itself.
pub(crate) struct Schedule {
    cron: LitStr,
    zone: Option<LitStr>,
    missed: proc_macro2::Ident,
}

impl Schedule {
    /// What the attribute of a method says, if it says so.
    pub(crate) fn read(signature: &Signature, options: &MethodOptions, arguments: &[Argument]) -> Result<Option<Self>> {
        let ident = &signature.ident;
        let Some(cron) = &options.cron else {
            return match (&options.zone, &options.missed) {
                (Some(alone), _) | (_, Some(alone)) => Err(Error::new(
                    alone.span(),
                    format!("`{ident}` has no `cron = \"..\"` for which that could be meant"),
                )),
                (None, None) => Ok(None),
            };
        };
        if let Some(query) = options.query {
            let text =
                format!("`{ident}` is a query, which changes nothing, so there is no sense in running it by itself");
            return Err(Error::new(query, text));
        }
        if options.raw {
            return Err(Error::new(cron.span(), format!("`{ident}` is raw: what runs by itself takes no bytes")));
        }
        check_arguments(signature, arguments)?;
        check_expression(cron)?;
        options.zone.as_ref().map_or(Ok(()), check_zone)?;
        let missed = options.missed.as_ref().map_or(Ok(quote::format_ident!("One")), missed)?;
        Ok(Some(Schedule { cron: cron.clone(), zone: options.zone.clone(), missed }))
    }

    /// As `Method` has it.
    pub(crate) fn description(&self) -> proc_macro2::TokenStream {
        let Schedule { cron, missed, .. } = self;
        let zone = self.zone.as_ref().map_or(quote!(""), ToTokens::to_token_stream);
        quote!(::ambrosia::Schedule { cron: #cron, zone: #zone, missed: ::ambrosia::Missed::#missed })
    }
}

fn check_arguments(signature: &Signature, arguments: &[Argument]) -> Result<()> {
    let ident = &signature.ident;
    let is_time = |ty: &Type| matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|segment| segment.ident == "Timestamp"));
    match arguments {
        [] => Ok(()),
        [Argument { ty, .. }] if is_time(ty) => Ok(()),
        [Argument { ty, .. }, ..] => {
            let text = format!(
                "`{ident}` runs by itself, and there is nobody who would give it that: it takes nothing, or the time at which it is due \
                 (`due: ambrosia::Timestamp`)"
            );
            Err(Error::new(ty.span(), text))
        }
    }
}

fn missed(word: &LitStr) -> Result<proc_macro2::Ident> {
    Ok(match word.value().as_str() {
        "one" => quote::format_ident!("One"),
        "all" => quote::format_ident!("All"),
        "none" => quote::format_ident!("None"),
        _ => {
            let text =
                "what was missed is made up for by `\"one\"` run for all, by `\"all\"` of them, or by `\"none\"`";
            return Err(Error::new(word.span(), text));
        }
    })
}

fn check_zone(zone: &LitStr) -> Result<()> {
    let text = zone.value();
    let is_name = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+'))
    };
    if text.split('/').all(is_name) {
        return Ok(());
    }
    Err(Error::new(zone.span(), "a time zone has a name such as \"Europe/Berlin\"; without one it is UTC"))
}

/// One field of an expression: what it is called, its least and its largest number, and names that stand for numbers.
struct Field {
    name: &'static str,
    from: u32,
    to: u32,
    names: &'static [&'static str],
    /// Letters beside numbers, whose sense is the host's to check.
    letters: &'static str,
}

const fn field(name: &'static str, from: u32, to: u32) -> Field {
    Field { name, from, to, names: &[], letters: "" }
}

const FIELDS: [Field; 6] = [
    field("second", 0, 59),
    field("minute", 0, 59),
    field("hour", 0, 23),
    Field { letters: "LW?", ..field("day of the month", 1, 31) },
    Field {
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
        ..field("month", 1, 12)
    },
    Field {
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
        letters: "L#?",
        ..field("day of the week", 0, 7)
    },
];

fn check_expression(cron: &LitStr) -> Result<()> {
    let text = cron.value();
    let refuse = |text: String| Err(Error::new(cron.span(), text));
    if matches!(text.as_str(), "@hourly" | "@daily" | "@weekly" | "@monthly" | "@yearly") {
        return Ok(());
    }
    let parts: Vec<_> = text.split_ascii_whitespace().collect();
    let fields = match parts.len() {
        5 => &FIELDS[1..],
        6 => &FIELDS[..],
        count => {
            let fields = if count == 1 { "1 field".to_owned() } else { format!("{count} fields") };
            return refuse(format!(
                "this has {fields}: write minute, hour, day of the month, month and day of the week, as in \"0 3 * * *\" for each day \
                 at three; a sixth before them is the second"
            ));
        }
    };
    for (part, field) in parts.into_iter().zip(fields) {
        if let Err(why) = part.split(',').try_for_each(|item| field.check(item)) {
            return refuse(format!("the {} can't be `{part}`: {why}", field.name));
        }
    }
    Ok(())
}

impl Field {
    fn check(&self, item: &str) -> std::result::Result<(), String> {
        let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
        if let Some(step) = step
            && !step.parse::<u32>().is_ok_and(|step| step > 0 && step <= self.to)
        {
            return Err(format!("`{step}` is no step from 1 to {}", self.to));
        }
        if range == "*" || (!range.is_empty() && range.chars().any(|letter| self.letters.contains(letter))) {
            return Ok(());
        }
        match range.split_once('-') {
            None => self.number(range).map(|_| ()),
            Some((from, to)) => match (self.number(from)?, self.number(to)?) {
                (from, to) if from <= to => Ok(()),
                // Sunday is the last day of a week, too.
                (_, 0) if self.to == 7 => Ok(()),
                (from, to) => Err(format!("{from} is not before {to}")),
            },
        }
    }

    fn number(&self, text: &str) -> std::result::Result<u32, String> {
        if let Some(at) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(self.from + at as u32);
        }
        match text.parse::<u32>() {
            Ok(number) if (self.from..=self.to).contains(&number) => Ok(number),
            _ if self.names.is_empty() => Err(format!("`{text}` is no number from {} to {}", self.from, self.to)),
            _ => Err(format!(
                "`{text}` is no number from {} to {}, nor a name such as `{}`",
                self.from, self.to, self.names[1]
            )),
        }
    }
}
