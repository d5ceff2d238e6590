//! What does the arithmetic of the cipher: the processor's instructions, or portable code.

use core::fmt;

use super::Provider;

/// What does the arithmetic of the cipher in this process.
///
/// The providers choose at run time and say nothing of it; this makes the same choice from the
/// same facts, and a test holds it against what they would answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Both halves of the cipher, AES and POLYVAL, run on instructions made for them.
    Accelerated(Provider, Instructions),
    /// At least one half runs in portable code: right, and 24 to 75 times slower.
    Soft(Provider, Softness),
}

/// Instructions made for the cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// AES and carry-less multiplication of x86, one block at a time.
    AesNi,
    /// AES and polynomial multiplication of ARMv8.
    Armv8,
    /// AES of x86, two blocks at a time.
    Vaes256,
    /// AES of x86, four blocks at a time.
    Vaes512,
}

/// Why portable code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Softness {
    /// The providers know no instructions of this architecture.
    Architecture,
    /// The build forbids them, with `--cfg aes_backend="soft"` or `--cfg polyval_backend="soft"`.
    Build,
    /// The processor, or the virtual machine around it, lacks them.
    Processor,
}

/// What does the arithmetic of this provider's cipher here.
#[must_use]
pub fn backend(provider: Provider) -> Backend {
    decide(provider, Facts::of_this_process())
}

impl Backend {
    /// Whether portable code runs: a state to report wherever it is met.
    #[must_use]
    pub const fn is_soft(self) -> bool {
        matches!(self, Self::Soft(..))
    }
}

/// One sentence for the log of a start, a doctor's report or a benchmark.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (provider, how) = match self {
            Self::Accelerated(provider, with) => (
                provider,
                match with {
                    Instructions::AesNi => "accelerated by AES-NI and PCLMULQDQ",
                    Instructions::Armv8 => "accelerated by the ARMv8 cryptography extension",
                    Instructions::Vaes256 => "accelerated by VAES on 256 bits and PCLMULQDQ",
                    Instructions::Vaes512 => "accelerated by VAES on 512 bits and PCLMULQDQ",
                },
            ),
            Self::Soft(provider, why) => (
                provider,
                match why {
                    Softness::Architecture => {
                        "SOFT, 24 to 75 times slower: no instructions are known on this architecture"
                    }
                    Softness::Build => {
                        "SOFT, 24 to 75 times slower: the build forbids the processor's instructions"
                    }
                    Softness::Processor => {
                        "SOFT, 24 to 75 times slower: the processor shows no AES or carry-less \
                         multiplication"
                    }
                },
            ),
        };
        write!(f, "aes-256-gcm-siv by {provider}, {how}")?;
        match built_with().as_slice() {
            [] => f.write_str("; built for any processor"),
            known => write!(f, "; built for {}", known.join(", ")),
        }
    }
}

/// The settings with which the compiler chooses the RustCrypto provider's back end, instead of the
/// process at each call. With keys wiped, as here, the cipher over a small field gains a tenth by
/// them (bench `sealing`). Such a build dies with an illegal instruction on a processor that lacks
/// one of them.
///
/// ```text
/// RUSTFLAGS="-C target-feature=+aes,+ssse3,+avx512f,+vaes,+pclmulqdq"
/// ```
pub const TUNED: [&str; 5] = ["aes", "ssse3", "avx512f", "vaes", "pclmulqdq"];

/// The instructions that the compiler was allowed to presume, of those that matter here.
#[must_use]
pub fn built_with() -> Vec<&'static str> {
    let known = [
        ("aes", cfg!(target_feature = "aes")),
        ("ssse3", cfg!(target_feature = "ssse3")),
        ("avx512f", cfg!(target_feature = "avx512f")),
        ("vaes", cfg!(target_feature = "vaes")),
        ("pclmulqdq", cfg!(target_feature = "pclmulqdq")),
        ("vpclmulqdq", cfg!(target_feature = "vpclmulqdq")),
    ];
    known
        .into_iter()
        .filter_map(|(name, presumed)| presumed.then_some(name))
        .collect()
}

/// Whether this is a [tuned](TUNED) build.
#[must_use]
pub fn is_tuned() -> bool {
    let known = built_with();
    TUNED.iter().all(|one| known.contains(one))
}

/// What the choice of a back end rests on.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    architecture: Architecture,
    soft_aes: bool,
    soft_polyval: bool,
    aes: bool,
    avx: bool,
    clmul: bool,
    vaes: bool,
    avx512f: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))] // of the three, one is made in each build
enum Architecture {
    Arm64,
    #[default]
    Other,
    X86,
}

impl Facts {
    #[expect(
        unexpected_cfgs,
        reason = "settings of the cipher's crates, made for all crates"
    )]
    fn of_this_process() -> Self {
        let facts = Self {
            soft_aes: cfg!(aes_backend = "soft"),
            soft_polyval: cfg!(polyval_backend = "soft"),
            ..Self::default()
        };
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        let facts = Self {
            architecture: Architecture::X86,
            aes: std::arch::is_x86_feature_detected!("aes"),
            avx: std::arch::is_x86_feature_detected!("avx"),
            clmul: std::arch::is_x86_feature_detected!("pclmulqdq"),
            vaes: std::arch::is_x86_feature_detected!("vaes"),
            avx512f: std::arch::is_x86_feature_detected!("avx512f"),
            ..facts
        };
        #[cfg(target_arch = "aarch64")]
        let facts = Self {
            architecture: Architecture::Arm64,
            aes: std::arch::is_aarch64_feature_detected!("aes"),
            clmul: std::arch::is_aarch64_feature_detected!("pmull"),
            ..facts
        };
        facts
    }
}

fn decide(provider: Provider, facts: Facts) -> Backend {
    let soft = |why| Backend::Soft(provider, why);
    let fast = |with| Backend::Accelerated(provider, with);
    // AWS-LC is C and assembler: the settings of the Rust crates do not reach it, and it has no
    // code of AES-GCM-SIV for VAES.
    let rust = provider == Provider::RustCrypto;
    if rust && (facts.soft_aes || facts.soft_polyval) {
        return soft(Softness::Build);
    }
    match facts.architecture {
        Architecture::Arm64 if facts.aes && facts.clmul => fast(Instructions::Armv8),
        Architecture::X86 if facts.aes && facts.avx && facts.clmul => {
            fast(match (rust && facts.vaes, facts.avx512f) {
                (true, true) => Instructions::Vaes512,
                (true, false) => Instructions::Vaes256,
                (false, _) => Instructions::AesNi,
            })
        }
        Architecture::Arm64 | Architecture::X86 => soft(Softness::Processor),
        Architecture::Other => soft(Softness::Architecture),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUST: Provider = Provider::RustCrypto;

    fn sapphire_rapids() -> Facts {
        Facts {
            architecture: Architecture::X86,
            aes: true,
            avx: true,
            clmul: true,
            vaes: true,
            avx512f: true,
            ..Facts::default()
        }
    }

    #[test]
    fn a_soft_half_makes_the_whole_soft() {
        let whole = sapphire_rapids();
        let soft = |facts, why| {
            assert_eq!(decide(RUST, facts), Backend::Soft(RUST, why), "{facts:?}");
        };
        let lacking = Softness::Processor;
        soft(
            Facts {
                aes: false,
                ..whole
            },
            lacking,
        );
        soft(
            Facts {
                clmul: false,
                ..whole
            },
            lacking,
        );
        soft(
            Facts {
                avx: false,
                ..whole
            },
            lacking,
        );
        soft(
            Facts {
                soft_aes: true,
                ..whole
            },
            Softness::Build,
        );
        soft(
            Facts {
                soft_polyval: true,
                ..whole
            },
            Softness::Build,
        );
        let other = Architecture::Other;
        soft(
            Facts {
                architecture: other,
                ..whole
            },
            Softness::Architecture,
        );
        let arm = Architecture::Arm64;
        let bare = Facts {
            architecture: arm,
            ..Facts::default()
        };
        soft(bare, lacking);
        soft(Facts { aes: true, ..bare }, lacking);
    }

    #[test]
    fn the_widest_instructions_are_named() {
        let whole = sapphire_rapids();
        let fast = |facts, with| {
            assert_eq!(
                decide(RUST, facts),
                Backend::Accelerated(RUST, with),
                "{facts:?}"
            );
        };
        fast(whole, Instructions::Vaes512);
        fast(
            Facts {
                avx512f: false,
                ..whole
            },
            Instructions::Vaes256,
        );
        fast(
            Facts {
                vaes: false,
                ..whole
            },
            Instructions::AesNi,
        );
        let arm = Architecture::Arm64;
        fast(
            Facts {
                architecture: arm,
                ..whole
            },
            Instructions::Armv8,
        );
    }

    #[test]
    #[cfg(feature = "aws-lc")]
    fn settings_of_the_rust_crates_do_not_reach_aws_lc() {
        let forced = Facts {
            soft_aes: true,
            ..sapphire_rapids()
        };
        let expected = Backend::Accelerated(Provider::AwsLc, Instructions::AesNi);
        assert_eq!(decide(Provider::AwsLc, forced), expected);
    }

    /// The AES crate says of itself what it uses; so does a stopwatch, which no test trusts.
    #[test]
    fn the_decision_is_the_one_of_the_cipher_crate() {
        let here = backend(RUST);
        if !here.is_soft() {
            assert!(aes::hardware_accelerated());
        }
        let facts = Facts::of_this_process();
        assert_eq!(facts.aes && !facts.soft_aes, aes::hardware_accelerated());
    }

    #[test]
    fn a_soft_back_end_says_so_in_its_sentence() {
        for why in [Softness::Architecture, Softness::Build, Softness::Processor] {
            let soft = Backend::Soft(RUST, why);
            assert!(soft.is_soft());
            assert!(soft.to_string().contains("SOFT, 24 to 75 times slower"));
        }
        let fast = Backend::Accelerated(RUST, Instructions::Vaes512).to_string();
        assert!(
            fast.starts_with("aes-256-gcm-siv by rust-crypto, accelerated"),
            "{fast}"
        );
        println!("here: {}", backend(RUST));
    }
}
