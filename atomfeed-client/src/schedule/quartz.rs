//! Expressions as Quartz writes them, made those that `croner` reads: numbers for names, Sunday as 0,
//! and lists for steps and ranges, of which Quartz knows more.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// The schedule of an expression, or what is wrong with it.
pub(super) fn parse(expression: &str) -> Result<Cron, String> {
    let expression = expression.to_ascii_uppercase();
    let mut fields: Vec<_> = expression.split_whitespace().collect();
    if fields.len() == 6 {
        fields.push("*");
    }
    let [second, minute, hour, day, month, weekday, year] = fields.as_slice() else {
        return Err(format!(
            "it has {} fields, and takes 6 or 7: second, minute, hour, day of the month, month, day of \
             the week, and year if it is given, as \"0 0/15 * * * ?\" for every quarter of an hour",
            fields.len()
        ));
    };
    if (*day == "?") == (*weekday == "?") {
        return Err(
            "of the day of the month (the 4th field) and the day of the week (the 6th), one is ?, and \
             the other says which days: \"* * ?\" with the month in between for all, \"? * MON-FRI\" for \
             some days of the week"
                .to_owned(),
        );
    }
    let translated = [
        SECOND.list(second)?,
        MINUTE.list(minute)?,
        HOUR.list(hour)?,
        days_of_month(day)?,
        MONTH.list(month)?,
        days_of_week(weekday)?,
        YEAR.list(year)?,
    ];
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Required)
        .build();
    parser
        .parse(&translated.join(" "))
        .map_err(|error| error.to_string())
}

/// What may stand in a field.
struct Field {
    name: &'static str,
    first: u16,
    last: u16,
    /// Names of the values, from the first on.
    names: &'static [&'static str],
    /// What `croner` counts less.
    less: u16,
}

const NUMBERS: Field = Field {
    name: "",
    first: 0,
    last: 59,
    names: &[],
    less: 0,
};

const SECOND: Field = Field {
    name: "second",
    ..NUMBERS
};

const MINUTE: Field = Field {
    name: "minute",
    ..NUMBERS
};

const HOUR: Field = Field {
    name: "hour",
    last: 23,
    ..NUMBERS
};

const DAY: Field = Field {
    name: "day of the month",
    first: 1,
    last: 31,
    ..NUMBERS
};

const MONTH: Field = Field {
    name: "month",
    first: 1,
    last: 12,
    names: &[
        "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
    ],
    ..NUMBERS
};

const WEEKDAY: Field = Field {
    name: "day of the week",
    first: 1,
    last: 7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    less: 1,
};

const YEAR: Field = Field {
    name: "year",
    first: 1970,
    last: 2099,
    ..NUMBERS
};

fn days_of_month(field: &str) -> Result<String, String> {
    if field == "?" {
        return Ok("*".to_owned());
    }
    if field.split(',').any(|part| part.starts_with("L-")) {
        return Err(
            "days before the last one of the month (L-3) are not known here: write the day, or L"
                .to_owned(),
        );
    }
    // With others, croner takes it for what they mean.
    if field.contains(',') && field.split(',').any(|part| part == "LW") {
        return Err("LW stands alone as the day of the month".to_owned());
    }
    DAY.list_with(field, |part| match part {
        "L" | "LW" => Some(Ok(part.to_owned())),
        _ => {
            let day = part.strip_suffix('W')?;
            Some(DAY.value(day).map(|day| format!("{day}W")))
        }
    })
}

fn days_of_week(field: &str) -> Result<String, String> {
    if field == "?" {
        return Ok("*".to_owned());
    }
    WEEKDAY.list_with(field, |part| {
        // Of the week, the last day is Saturday; of a month, the last of these days.
        if part == "L" {
            return Some(Ok("6".to_owned()));
        }
        if let Some(day) = part.strip_suffix('L') {
            let day = WEEKDAY.value(day);
            return Some(day.map(|day| format!("{}L", day - WEEKDAY.less)));
        }
        let (day, nth) = part.split_once('#')?;
        Some(match nth {
            "1" | "2" | "3" | "4" | "5" => WEEKDAY
                .value(day)
                .map(|day| format!("{}#{nth}", day - WEEKDAY.less)),
            _ => Err(format!(
                "{part:?} is no day of the week: behind # stands the how manieth of the month it is, \
                 from 1 to 5"
            )),
        })
    })
}

impl Field {
    fn list(&self, field: &str) -> Result<String, String> {
        self.list_with(field, |_| None)
    }

    /// The values of a field, joined by commas; parts that `special` knows are what it says.
    fn list_with(
        &self,
        field: &str,
        special: impl Fn(&str) -> Option<Result<String, String>>,
    ) -> Result<String, String> {
        // The days of the other field count where all of these do.
        if field == "*" {
            return Ok(field.to_owned());
        }
        let mut list = Vec::new();
        for part in field.split(',') {
            match special(part) {
                Some(translated) => list.push(translated?),
                None => {
                    let values = self.values(part)?.into_iter();
                    list.extend(values.map(|value| (value - self.less).to_string()));
                }
            }
        }
        Ok(list.join(","))
    }

    /// The values of a number, a range, or either with a step.
    fn values(&self, part: &str) -> Result<Vec<u16>, String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(self.step(part, step)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            None if range == "*" || range.is_empty() && step.is_some() => (self.first, self.last),
            None => {
                let from = self.value(range)?;
                (from, if step.is_some() { self.last } else { from })
            }
        };
        let count = self.last - self.first + 1;
        let to = match to < from {
            true if self.first == YEAR.first => {
                return Err(format!(
                    "{range:?} ends before it begins: write it the other way"
                ));
            }
            // It goes round: 22-2.
            true => to + count,
            false => to,
        };
        let values = (from..=to).step_by(step.unwrap_or(1).into());
        let values = values.map(|value| self.first + (value - self.first) % count);
        Ok(values.collect())
    }

    fn step(&self, part: &str, step: &str) -> Result<u16, String> {
        let number = number(step);
        let number = number.filter(|number| (1..=self.last).contains(number));
        number.ok_or_else(|| {
            format!(
                "{part:?} is no {}: behind / stands a step from 1 to {}",
                self.name, self.last
            )
        })
    }

    fn value(&self, text: &str) -> Result<u16, String> {
        let named = self.names.iter().position(|name| *name == text);
        let named = named.and_then(|index| u16::try_from(index).ok());
        let number = match named {
            Some(index) => Some(self.first + index),
            None => number(text),
        };
        let number = number.filter(|number| (self.first..=self.last).contains(number));
        number.ok_or_else(|| {
            let names = match self.names {
                [first, .., last] => format!(", or {first} to {last}"),
                _ => String::new(),
            };
            format!(
                "{text:?} is no {}: write {} to {}{names}",
                self.name, self.first, self.last
            )
        })
    }
}

/// Without a sign.
fn number(digits: &str) -> Option<u16> {
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| are_digits)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_with_what_to_write() {
        for (expression, says) in [
            ("", "it has 0 fields"),
            ("every 15 seconds", "it has 3 fields"),
            ("*/5 * * * *", "it has 5 fields"),
            ("* * * * * * * *", "it has 8 fields"),
            ("0 0 2 * * *", "one is ?"),
            ("0 0 2 ? * ?", "one is ?"),
            ("0 0 2 1 * MON", "one is ?"),
            ("60 * * * * ?", r#""60" is no second: write 0 to 59"#),
            ("0 60 * * * ?", r#""60" is no minute"#),
            ("0 0 24 * * ?", r#""24" is no hour"#),
            (
                "0 0 0 0 * ?",
                r#""0" is no day of the month: write 1 to 31"#,
            ),
            ("0 0 0 32W * ?", r#""32" is no day of the month"#),
            ("0 0 0 L-3 * ?", "L-3"),
            ("0 0 0 1,LW * ?", "LW stands alone"),
            (
                "0 0 0 1 13 ?",
                r#""13" is no month: write 1 to 12, or JAN to DEC"#,
            ),
            ("0 0 0 1 MON ?", r#""MON" is no month"#),
            (
                "0 0 0 ? * 0",
                r#""0" is no day of the week: write 1 to 7, or SUN to SAT"#,
            ),
            ("0 0 0 ? * 8", r#""8" is no day of the week"#),
            ("0 0 0 ? * 6#6", "from 1 to 5"),
            ("0 0 0 ? * 6#", "from 1 to 5"),
            ("0 0 0 ? * #1", r#""" is no day of the week"#),
            ("0 0 0 ? * 2-6L", r#""2-6" is no day of the week"#),
            ("0 0 0 1 1 ? 1969", r#""1969" is no year"#),
            ("0 0 0 1 1 ? 2030-2026", "ends before it begins"),
            ("0/0 * * * * ?", "a step from 1 to 59"),
            ("0/90 * * * * ?", "a step from 1 to 59"),
            ("0/x * * * * ?", "a step from 1 to 59"),
            ("0 0 1/2/3 * * ?", "a step from 1 to 23"),
            ("0 -5 * * * ?", r#""" is no minute"#),
            ("0 +5 * * * ?", r#""+5" is no minute"#),
            ("0 1, * * * ?", r#""" is no minute"#),
            ("0 1,? * * * ?", r#""?" is no minute"#),
            ("0 é * * * ?", r#""é" is no minute"#),
            ("@daily", "it has 1 fields"),
        ] {
            let error = parse(expression).err().unwrap_or_default();
            assert!(error.contains(says), "{expression}: {error}");
        }
    }

    #[test]
    fn a_list_is_what_steps_and_ranges_come_to() {
        assert_eq!(HOUR.list("22-2,9").unwrap(), "22,23,0,1,2,9");
        assert_eq!(HOUR.list("22-4/3").unwrap(), "22,1,4");
        assert_eq!(MINUTE.list("5/20,/30").unwrap(), "5,25,45,0,30");
        assert_eq!(MONTH.list("NOV-FEB").unwrap(), "11,12,1,2");
        assert_eq!(days_of_week("6-2").unwrap(), "5,6,0,1");
        assert_eq!(
            days_of_week("1,7,L,2L,3#4,TUEL").unwrap(),
            "0,6,6,1L,2#4,2L"
        );
        assert_eq!(days_of_month("L,15W,3-5").unwrap(), "L,15W,3,4,5");
        assert_eq!(YEAR.list("2098/1").unwrap(), "2098,2099");
    }
}
