//! Values that are nested, as deep as a caller likes.

use std::collections::BTreeMap;

use ambrosia::{Peer, This, serde};

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(crate = "ambrosia::serde")]
enum Tree {
    Leaf,
    Node(Box<Tree>),
}

/// Its decoder has a large frame.
#[derive(Default, serde::Serialize, serde::Deserialize)]
#[serde(crate = "ambrosia::serde", default)]
struct Wide {
    names: [String; 8],
    first: Option<u128>,
    second: Option<String>,
    third: Vec<u64>,
    fourth: BTreeMap<String, i64>,
    fifth: (u64, f64, bool, char),
    sixth: Option<Result<u32, String>>,
    more: Option<Box<Wide>>,
    children: Vec<Wide>,
}

#[ambrosia::interface]
trait Other {
    fn tree_of(levels: u32) -> Tree;
}

#[ambrosia::state]
struct Nested;

#[ambrosia::immortal]
impl Nested {
    #[ambrosia(update)]
    fn ok(&self) -> u32 {
        42
    }

    /// How many levels that has.
    #[ambrosia(update)]
    fn tree(&self, tree: Tree) -> u32 {
        let (mut levels, mut at) = (0, &tree);
        while let Tree::Node(next) = at {
            (levels, at) = (levels + 1, next);
        }
        levels
    }

    /// How many levels the first children have.
    #[ambrosia(update)]
    fn wide(&self, wide: Wide) -> u32 {
        let (mut levels, mut at) = (0, &wide);
        while let Some(next) = at.children.first() {
            (levels, at) = (levels + 1, next);
        }
        levels
    }

    #[ambrosia(update)]
    fn tree_of(&self, levels: u32) -> Tree {
        (0..levels).fold(Tree::Leaf, |tree, _| Tree::Node(Box::new(tree)))
    }

    #[ambrosia(update)]
    fn wide_of(&self, levels: u32) -> Wide {
        (0..levels).fold(Wide::default(), |wide, _| Wide { children: vec![wide], ..Wide::default() })
    }

    /// Calls `tree` of `target` with a tree of that many levels, whatever its own SDK thinks of it.
    async fn pass_on(_this: This<Self>, target: String, levels: u32) -> Result<Vec<u8>, String> {
        let arguments = [&[0x91][..], &b"\x81\xa4Node".repeat(levels as usize), b"\xa4Leaf"].concat();
        Peer::attach(&target).call_raw("tree", &arguments).await.map_err(|error| error.to_string())
    }

    /// Asks `target` for a tree, and says how many levels it has.
    async fn ask(this: This<Self>, target: String, levels: u32) -> Result<u32, String> {
        let tree = Other::attach(&target).tree_of(levels).await.map_err(|error| error.to_string())?;
        Ok(this.with(|nested| nested.tree(tree)))
    }

    /// Forks a tree to `target`, or says why not.
    #[ambrosia(update)]
    fn fork_tree(&self, target: String, levels: u32) -> Result<(), String> {
        Peer::attach(&target).try_fork("tree", (self.tree_of(levels),)).map_err(|error| error.to_string())
    }

    /// The bytes of an answer that its caller can't decode.
    #[ambrosia(raw, name = "bad_tree")]
    fn bad_tree(&self, _bytes: &[u8]) -> Vec<u8> {
        b"\x81\xa4Node".repeat(100_000)
    }

    /// Asks `target` for that, and decodes it.
    async fn ask_bad(_this: This<Self>, target: String) -> Result<(), String> {
        let tree = Peer::attach(&target).call::<Tree>("bad_tree", ()).await;
        tree.map(drop).map_err(|error| error.to_string())
    }
}
