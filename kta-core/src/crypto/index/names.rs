//! Names that are found however they were transliterated.
//!
//! One name is written in many ways: כהן on the identity card is Cohen, Kohen, Cohn or Kahn in a
//! passport, חיים is Chaim or Haim. Each word of a name is brought to the consonants that its
//! spellings share, its *keys*: short strings over twelve classes of sounds. Where a letter may
//! stand for two sounds, or for none, the word gets a key for each reading. Two words match when
//! they share a key.
//!
//! | class | Hebrew | Latin |
//! | --- | --- | --- |
//! | `B` | ב, consonant ו | b, v, w |
//! | `D` | ד | d |
//! | `G` | ג | g, gh; j in one of two readings |
//! | `K` | כ ח ק | k, kh, ck, q, qu; c but before e, i, y; ch and h, each in one of two readings |
//! | `L` `M` `N` `R` | ל מ נ ר | l m n r |
//! | `P` | פ | p, ph, f |
//! | `S` | ש ס | s, sh, sch; c before e, i, y |
//! | `T` | ת ט | t, th |
//! | `Y` | first י | first y; j, and a first i, each in one of two readings |
//! | `Z` | ז צ | z, tz, ts, cz, tch, zh; ch in one of two readings |
//! | none | א ה ע, other י, vowel ו | vowels, other y; h in one of two readings |
//!
//! What it misses, on purpose or by nature: names that were translated and not transliterated
//! (Moses for משה, Isaac for יצחק), nicknames, the Ashkenazi reading of ת as s, Peretz written
//! Peres, Kagan for Cohen, Spanish j and French ch, and every script but Hebrew and Latin, where
//! a word matches itself only. What it finds too much: all words of the same consonants (Lea and
//! Eli). Rows found are opened and shown to somebody who knows whom they look for; nothing is
//! decided by a key.
//!
//! What leaks to whoever has the rows but no index key: how often each key occurs. Common
//! surnames are common, so their keys are guessable by count alone, whatever the length of the
//! entry. Index names where that is acceptable and nowhere else; a number that an authority gave
//! out leaks far less and finds one person.

use zeroize::Zeroizing;

use super::normal::{Normal, NotNormal};

/// A name as it is indexed and searched for: the keys of each of its words.
///
/// ```
/// use kta_core::crypto::index::NameForms;
/// let card = NameForms::of("כהן טסטה")?;
/// let passport = NameForms::of("Testa Cohen")?;
/// assert!(passport.found_in(&card));
/// assert!(NameForms::of("Kohn")?.found_in(&card));
/// assert!(!NameForms::of("Testa Levi")?.found_in(&card));
/// # Ok::<(), kta_core::crypto::index::NotNormal>(())
/// ```
#[derive(Clone, Debug)]
pub struct NameForms {
    words: Vec<Vec<Normal>>,
}

impl NameForms {
    /// Words of a name that are looked at; more are left out.
    pub const WORDS: usize = 8;
    /// Keys of a word. A word with more readings keeps the first ones and may be missed in the
    /// others.
    pub const KEYS: usize = 16;

    /// The forms of a name.
    ///
    /// # Errors
    /// [`NotNormal`] as [`Normal::name`].
    pub fn of(text: &str) -> Result<Self, NotNormal> {
        Normal::name(text).map(|name| Self::of_normal(&name))
    }

    /// The forms of a name in [normal form](Normal::name).
    pub(crate) fn of_normal(name: &Normal) -> Self {
        let words = name.text().split(' ').take(Self::WORDS);
        Self {
            words: words.map(keys).collect(),
        }
    }

    /// What is indexed: every key of every word, each once.
    #[must_use]
    pub fn entries(&self) -> Vec<Normal> {
        let mut all: Vec<Normal> = Vec::new();
        for key in self.words.iter().flatten() {
            if !all.contains(key) {
                all.push(key.clone());
            }
        }
        all
    }

    /// What is looked up: the keys of the word with the most sounds, which finds the fewest rows.
    /// A row is found when any of them is among its entries; then ask
    /// [`found_in`](Self::found_in).
    #[must_use]
    pub fn lookups(&self) -> &[Normal] {
        let sounds = |word: &&Vec<Normal>| word.iter().map(|key| key.text().len()).min();
        self.words
            .iter()
            .max_by_key(sounds)
            .map_or(&[], Vec::as_slice)
    }

    /// Whether each word of this name is a word of the other.
    #[must_use]
    pub fn found_in(&self, other: &Self) -> bool {
        let shares = |one: &Vec<Normal>, two: &Vec<Normal>| one.iter().any(|key| two.contains(key));
        self.words
            .iter()
            .all(|word| other.words.iter().any(|theirs| shares(word, theirs)))
    }
}

/// The keys of one word in normal form: at least one.
fn keys(word: &str) -> Vec<Normal> {
    let letters: Zeroizing<Vec<char>> = Zeroizing::new(word.chars().collect());
    let sounds = if letters.iter().all(|letter| is_hebrew(*letter)) {
        hebrew(&letters)
    } else if letters.iter().all(char::is_ascii_lowercase) {
        latin(&letters)
    } else {
        Vec::new()
    };
    // The sign keeps a key apart from the normal form of any whole name. No sound is written
    // with more than two letters, so a reading never moves and leaves no copy of itself.
    let room = 1 + 2 * sounds.len();
    let read = |so_far: &str| {
        let mut reading = Zeroizing::new(String::with_capacity(room));
        reading.push_str(so_far);
        reading
    };
    let mut readings = vec![read(KEY)];
    for sound in sounds {
        let more = readings.len() * sound.len() <= NameForms::KEYS;
        let taken = if more { sound } else { &sound[..1] };
        let [first, others @ ..] = taken else {
            continue;
        };
        let before = readings.len();
        for other in others {
            for at in 0..before {
                let mut reading = read(&readings[at]);
                reading.push_str(other);
                readings.push(reading);
            }
        }
        for reading in &mut readings[..before] {
            reading.push_str(first);
        }
    }
    let mut keys: Vec<Normal> = Vec::new();
    for reading in readings.iter().filter(|reading| reading.as_str() != KEY) {
        let key = Normal::of(reading);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        // Nothing but vowels, or a script without a table: the word itself.
        keys.push(Normal::of(&Zeroizing::new(format!("={word}"))));
    }
    keys
}

/// What a key begins with.
const KEY: &str = "~";

/// The readings of one letter: each a class, or nothing.
type Sound = &'static [&'static str];

fn is_hebrew(letter: char) -> bool {
    ('\u{05D0}'..='\u{05EA}').contains(&letter)
}

fn hebrew(letters: &[char]) -> Vec<Sound> {
    let mut sounds: Vec<Sound> = Vec::with_capacity(letters.len());
    let mut at = 0;
    while let Some(letter) = letters.get(at) {
        let double = *letter == 'ו' && letters.get(at + 1) == Some(&'ו');
        sounds.push(match letter {
            'ב' => &["B"],
            'ו' if at == 0 || double => &["B"],
            'ו' => &["", "B"],
            'ג' => &["G"],
            'ד' => &["D"],
            'ז' | 'צ' | 'ץ' => &["Z"],
            'ח' | 'כ' | 'ך' | 'ק' => &["K"],
            'ט' | 'ת' => &["T"],
            'י' if at == 0 => &["Y"],
            'ל' => &["L"],
            'מ' | 'ם' => &["M"],
            'נ' | 'ן' => &["N"],
            'ס' | 'ש' => &["S"],
            'פ' | 'ף' => &["P"],
            'ר' => &["R"],
            _ => &[""],
        });
        at += 1 + usize::from(double);
    }
    sounds
}

fn latin(letters: &[char]) -> Vec<Sound> {
    let mut sounds: Vec<Sound> = Vec::with_capacity(letters.len());
    let mut at = 0;
    while at < letters.len() {
        let rest = &letters[at..];
        if let Some((written, sound)) = TOGETHER.iter().find(|(written, _)| begins(rest, written)) {
            sounds.push(sound);
            at += written.len();
            continue;
        }
        let (letter, next) = (rest[0], rest.get(1));
        // A doubled letter is one sound.
        if next != Some(&letter) {
            let soft = matches!(next, Some('e' | 'i' | 'y'));
            sounds.push(match letter {
                'b' | 'v' | 'w' => &["B"],
                'c' if soft => &["S"],
                'c' | 'k' | 'q' => &["K"],
                'd' => &["D"],
                'f' | 'p' => &["P"],
                'g' => &["G"],
                'h' => &["", "K"],
                'i' if at == 0 => &["", "Y"],
                'j' => &["Y", "G"],
                'l' => &["L"],
                'm' => &["M"],
                'n' => &["N"],
                'r' => &["R"],
                's' => &["S"],
                't' => &["T"],
                'x' => &["KS"],
                'y' if at == 0 => &["Y"],
                'z' => &["Z"],
                _ => &[""],
            });
        }
        at += 1;
    }
    sounds
}

fn begins(letters: &[char], written: &str) -> bool {
    written.chars().count() <= letters.len() && written.chars().zip(letters).all(|(a, b)| a == *b)
}

/// Letters that are one sound together, longer ones first.
const TOGETHER: [(&str, Sound); 18] = [
    ("tsch", &["Z"]),
    ("sch", &["S"]),
    ("tch", &["Z"]),
    ("ch", &["K", "Z"]),
    ("ck", &["K"]),
    ("cz", &["Z"]),
    ("gh", &["G"]),
    ("kh", &["K"]),
    ("ph", &["P"]),
    ("qu", &["K"]),
    ("rh", &["R"]),
    ("sh", &["S"]),
    ("th", &["T"]),
    ("ts", &["Z"]),
    ("tz", &["Z"]),
    ("wh", &["B"]),
    ("zh", &["Z"]),
    ("zz", &["Z"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(name: &str) -> NameForms {
        NameForms::of(name).unwrap()
    }

    fn one(name: &str, other: &str) -> bool {
        let (name, other) = (forms(name), forms(other));
        let both = name.found_in(&other);
        assert_eq!(
            both,
            other.found_in(&name),
            "matching single words is mutual"
        );
        both
    }

    #[test]
    fn spellings_of_one_name_match() {
        let spellings: [&[&str]; 27] = [
            &[
                "כהן",
                "Cohen",
                "Kohen",
                "Cohn",
                "Kohn",
                "Kahn",
                "Cahen",
                "Coen",
                "כֹּהֵן",
            ],
            &["לוי", "Levi", "Levy", "Lewy", "Lévy"],
            &["חיים", "Chaim", "Haim", "Hayim", "Khaim"],
            &["כץ", "כ״ץ", "כ\"ץ", "Katz", "Kats"],
            &["שוורץ", "Schwarz", "Schwartz", "Shvarts"],
            &["יצחק", "Yitzhak", "Itzhak", "Yitzchak", "Itshak"],
            &["יוסף", "Yosef", "Joseph", "Josef", "Yossef"],
            &["יעקב", "Yaakov", "Ya'akov", "Jacob", "Yaacov", "Jakob"],
            &["ישראל", "Israel", "Yisrael", "Jisrael"],
            &["אברהם", "Avraham", "Abraham", "Avrohom"],
            &["רבקה", "Rivka", "Rebecca"],
            &["חנה", "Hannah", "Hana", "Chana", "Channa"],
            &["מזרחי", "Mizrahi", "Mizrachi"],
            &["נתניהו", "Netanyahu"],
            &["גולדשטיין", "Goldstein", "Goldshtein", "Goldschtein"],
            &[
                "רבינוביץ'",
                "Rabinovich",
                "Rabinowitz",
                "Rabinovitch",
                "Rabinowicz",
            ],
            &["דוד", "David", "Dawid", "Davyd"],
            &["דוב", "דב", "Dov", "Dow"],
            &["צבי", "Zvi", "Tzvi", "Tsvi", "Zwi"],
            &["שרה", "Sara", "Sarah"],
            &["יונתן", "Yonatan", "Jonathan", "Yonathan"],
            &["מנחם", "Menachem", "Menahem", "Menakhem"],
            &["אחמד", "Ahmed", "Ahmad", "Akhmed"],
            &["פרידמן", "Friedman", "Fridman", "Friedmann"],
            &["וולף", "Wolf", "Volf", "Wolff"],
            &["ג'ורג'", "George"],
            &["צ'ארלי", "Charlie"],
        ];
        for names in spellings {
            for name in &names[1..] {
                assert!(one(names[0], name), "{} and {name}", names[0]);
            }
        }
    }

    #[test]
    fn different_names_do_not_match() {
        for (name, other) in [
            ("כהן", "Levi"),
            ("כהן", "Kogan"),
            ("Cohen", "Cowen"),
            ("פרץ", "Peres"),
            ("משה", "Moses"),
            ("יצחק", "Isaac"),
            ("David", "Daniel"),
            ("שרה", "Rivka"),
            ("Иванов", "Ivanov"),
            ("Aya", "Eli"),
        ] {
            assert!(!one(name, other), "{name} and {other}");
        }
    }

    #[test]
    fn every_word_of_the_search_is_wanted() {
        let stored = forms("Musterfrau-Cohen, Testa");
        for found in ["כהן", "Testa Kohn", "טסטה כהן", "musterfrau testa cohen"] {
            assert!(forms(found).found_in(&stored), "{found}");
        }
        for other in ["Testa Levi", "Cohen Testa Musterfrau Anna"] {
            assert!(!forms(other).found_in(&stored), "{other}");
        }
    }

    #[test]
    fn a_row_is_found_by_what_is_looked_up() {
        let stored = forms("כהן טסטה").entries();
        let search = forms("Testa Cohen");
        assert!(search.lookups().iter().any(|key| stored.contains(key)));
        let lookups: Vec<_> = search.lookups().iter().map(Normal::text).collect();
        assert_eq!(lookups, ["~TST"], "the word of the most sounds");
    }

    #[test]
    fn keys_are_bounded_however_the_name_is_made() {
        let words = "hahahahahahahahahahahaha jhijhijhijhi ".repeat(20);
        let name = forms(&words);
        assert!(name.words.len() <= NameForms::WORDS);
        assert!(name.words.iter().all(|keys| keys.len() <= NameForms::KEYS));
        assert!(NameForms::of(&"c".repeat(5000)).is_err());
        assert!(NameForms::of("12").is_err());
    }

    #[test]
    fn a_key_is_no_whole_name() {
        let whole = Normal::name("bd").unwrap();
        assert!(!forms("bd").entries().contains(&whole));
        assert!(!format!("{:?}", forms("CANARY")).contains("CNR"));
    }
}
