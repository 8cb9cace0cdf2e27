//! The planner: two trees in, a list of actions out. It does no I/O.
//!
//! Invariant: the actions, applied in their order to the tree that was found, give the wanted tree, and a plan for the
//! result has no actions.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Item, ItemKind, Stamp, Tree, directories_above, parent};

/// One step of a plan. Paths are relative to both trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorAction {
    /// Makes a directory.
    MakeDirectory {
        /// Its path.
        path: Vec<u8>,
    },
    /// Copies a file, with its time and its mode.
    Transfer {
        /// Its path.
        path: Vec<u8>,
        /// Its source.
        item: Item,
        /// The difference that makes the copy necessary.
        reason: Difference,
    },
    /// Makes a symbolic link, in place of one with another target.
    Link {
        /// Its path.
        path: Vec<u8>,
        /// Its target.
        target: Vec<u8>,
    },
    /// Removes a file or a link, or an empty directory.
    Remove {
        /// Its path.
        path: Vec<u8>,
        /// True for a directory.
        is_directory: bool,
    },
    /// Sets the time of an item.
    SetTime {
        /// Its path.
        path: Vec<u8>,
        /// The time.
        modified: Stamp,
    },
    /// Sets the permission bits of an item.
    SetMode {
        /// Its path.
        path: Vec<u8>,
        /// The bits.
        mode: u32,
    },
}

impl MirrorAction {
    /// Returns the path of the item, relative to both trees.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        match self {
            Self::MakeDirectory { path }
            | Self::Transfer { path, .. }
            | Self::Link { path, .. }
            | Self::Remove { path, .. }
            | Self::SetTime { path, .. }
            | Self::SetMode { path, .. } => path,
        }
    }
}

/// The difference that makes the copy of a file necessary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The target does not exist.
    Missing,
    /// The sizes differ.
    Size,
    /// The times differ, or cannot be compared.
    Time,
    /// The checksums differ.
    Checksum,
}

/// The reason why an item is not copied although it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// It is neither file, directory nor link.
    Kind,
    /// The target of a link leads out of the tree, or is unknown.
    Target,
    /// The place of the copy is taken by an item of another kind.
    Occupied,
    /// The target does not support links.
    Link,
}

/// The actions that make one tree like another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The actions, in the order in which they are to be executed.
    pub actions: Vec<MirrorAction>,
    /// Items that are not copied, each with the reason.
    pub obstacles: Vec<(Vec<u8>, Obstacle)>,
    /// Number of files and links that need no copy.
    pub unchanged: usize,
}

/// Rules for a plan.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one field an option")]
pub(super) struct Rules {
    /// Removes what the wanted tree does not have.
    pub(super) delete: bool,
    /// Replaces a file only if the wanted one is newer.
    pub(super) only_newer: bool,
    /// The target keeps no times, so a copy is as new as its transfer.
    pub(super) keeps_no_times: bool,
    /// Directories have times to be kept.
    pub(super) directory_times: bool,
    /// The target does not support symbolic links.
    pub(super) no_links: bool,
    /// Result of the comparison by checksum, for files where one was made: true if the contents are equal.
    pub(super) compared: BTreeMap<Vec<u8>, bool>,
}

/// Plans the actions that make `found` like `wanted`.
#[must_use]
pub(super) fn plan(wanted: &Tree, found: &Tree, rules: &Rules) -> Plan {
    let mut draft =
        Draft { rules, found, plan: Plan::default(), last: Vec::new(), extra: Vec::new() };
    let mut blocked = BTreeSet::new();
    for (path, item) in &wanted.items {
        if directories_above(path).any(|above| blocked.contains(above)) {
            continue;
        }
        if let Some(obstacle) = draft.obstacle(path, item) {
            draft.plan.obstacles.push((path.clone(), obstacle));
            blocked.insert(path.as_slice());
        } else {
            draft.add(path, item);
        }
    }
    if rules.delete {
        draft.remove_what_is_not_in(wanted);
    }
    if rules.directory_times {
        draft.keep_times_of_directories(wanted);
    }
    draft.finish()
}

/// A plan in the making.
struct Draft<'a> {
    rules: &'a Rules,
    found: &'a Tree,
    plan: Plan,
    /// Removals, after all copies.
    extra: Vec<MirrorAction>,
    /// Times and modes: set after all changes in the directories.
    last: Vec<MirrorAction>,
}

impl Draft<'_> {
    /// Returns the reason why an item cannot be copied.
    fn obstacle(&self, path: &[u8], item: &Item) -> Option<Obstacle> {
        match &item.kind {
            ItemKind::Other => return Some(Obstacle::Kind),
            ItemKind::Link { .. } if self.rules.no_links => return Some(Obstacle::Link),
            ItemKind::Link { target } => match target {
                Some(target) if stays_inside(path, target) => {}
                _ => return Some(Obstacle::Target),
            },
            ItemKind::File { .. } | ItemKind::Directory => {}
        }
        let found = self.found.items.get(path).filter(|found| !found.kind.is_like(&item.kind))?;
        let is_removable = self.rules.delete
            && (found.kind != ItemKind::Directory || !self.has_uncertain_content(path));
        (!is_removable).then_some(Obstacle::Occupied)
    }

    /// Returns true if a directory may have content that the tree does not have.
    fn has_uncertain_content(&self, path: &[u8]) -> bool {
        self.found.incomplete.contains(path)
            || self.found.below(path).any(|(path, _)| self.found.incomplete.contains(path))
    }

    /// Adds the actions for one item.
    fn add(&mut self, path: &[u8], item: &Item) {
        let mut found = self.found.items.get(path);
        if let Some(other) = found.filter(|found| !found.kind.is_like(&item.kind)) {
            let removals = self.removals(path, other);
            self.plan.actions.extend(removals);
            found = None;
        }
        match &item.kind {
            ItemKind::Directory => {
                if found.is_none() {
                    self.plan.actions.push(MirrorAction::MakeDirectory { path: path.to_vec() });
                }
                self.keep_mode(path, item, found);
            }
            ItemKind::Link { target } => {
                if found.is_some_and(|found| found.kind == item.kind) {
                    self.plan.unchanged += 1;
                } else if let Some(target) = target.clone() {
                    self.plan.actions.push(MirrorAction::Link { path: path.to_vec(), target });
                }
            }
            ItemKind::File { .. } => {
                let reason = found
                    .map_or(Some(Difference::Missing), |found| self.difference(path, item, found));
                if let Some(reason) = reason {
                    let (path, item) = (path.to_vec(), item.clone());
                    self.plan.actions.push(MirrorAction::Transfer { path, item, reason });
                } else {
                    self.plan.unchanged += 1;
                    self.keep_mode(path, item, found);
                    if self.rules.compared.contains_key(path) && !self.rules.keeps_no_times {
                        self.keep_time(path, item, found);
                    }
                }
            }
            ItemKind::Other => {}
        }
    }

    /// Compares two files.
    fn difference(&self, path: &[u8], wanted: &Item, found: &Item) -> Option<Difference> {
        let (ItemKind::File { size: wanted_size }, ItemKind::File { size: found_size }) =
            (&wanted.kind, &found.kind)
        else {
            return None;
        };
        let order = wanted.modified.zip(found.modified).map(|(wanted, found)| wanted.order(found));
        if self.rules.only_newer && order.is_some_and(|order| order != Ordering::Greater) {
            return None;
        }
        if let Some(is_same) = self.rules.compared.get(path) {
            return (!is_same).then_some(Difference::Checksum);
        }
        match (wanted_size, found_size) {
            (Some(wanted), Some(found)) if wanted == found => match order {
                None | Some(Ordering::Equal) => None,
                Some(Ordering::Less) if self.rules.keeps_no_times => None,
                Some(_) => Some(Difference::Time),
            },
            (Some(_), Some(_)) => Some(Difference::Size),
            // Without sizes, only equal times show that nothing has changed.
            _ if order == Some(Ordering::Equal) => None,
            _ => Some(Difference::Time),
        }
    }

    fn keep_mode(&mut self, path: &[u8], wanted: &Item, found: Option<&Item>) {
        let Some(mode) = wanted.mode else { return };
        // A target that reports no modes does not keep any.
        let differs = found.is_none_or(|found| found.mode.is_some_and(|found| found != mode));
        if differs {
            self.last.push(MirrorAction::SetMode { path: path.to_vec(), mode });
        }
    }

    fn keep_time(&mut self, path: &[u8], wanted: &Item, found: Option<&Item>) {
        let Some(modified) = wanted.modified else { return };
        let found = found.and_then(|found| found.modified);
        if found.is_none_or(|found| found.order(modified) != Ordering::Equal) {
            self.last.push(MirrorAction::SetTime { path: path.to_vec(), modified });
        }
    }

    /// Returns the actions that remove an item with all that it contains.
    fn removals(&self, path: &[u8], item: &Item) -> Vec<MirrorAction> {
        let remove = |path: &[u8], item: &Item| MirrorAction::Remove {
            path: path.to_vec(),
            is_directory: item.kind == ItemKind::Directory,
        };
        let mut removals = Vec::new();
        if item.kind == ItemKind::Directory {
            removals.extend(self.found.below(path).rev().map(|(path, item)| remove(path, item)));
        }
        removals.push(remove(path, item));
        removals
    }

    /// Removes the items that are not wanted, the content of a directory before the directory.
    fn remove_what_is_not_in(&mut self, wanted: &Tree) {
        for (path, item) in self.found.items.iter().rev() {
            // The copy of an item that cannot be copied, or whose directory could not be listed, stays.
            let is_replaced = |path: &[u8]| {
                wanted.items.get(path).is_some_and(|wanted| wanted.kind != ItemKind::Directory)
            };
            let is_below_another = directories_above(path).any(is_replaced);
            let is_kept = wanted.items.contains_key(path)
                || wanted.is_uncertain(path)
                || is_below_another
                || (item.kind == ItemKind::Directory && self.has_uncertain_content(path));
            if !is_kept {
                let is_directory = item.kind == ItemKind::Directory;
                self.extra.push(MirrorAction::Remove { path: path.clone(), is_directory });
            }
        }
    }

    /// Sets the times of directories that differ, and of those whose time the other actions change.
    fn keep_times_of_directories(&mut self, wanted: &Tree) {
        let changed: BTreeSet<Vec<u8>> = (self.plan.actions.iter().chain(&self.extra))
            .filter_map(|action| parent(action.path()).map(<[u8]>::to_vec))
            .collect();
        for (path, item) in &wanted.items {
            if item.kind == ItemKind::Directory && !self.is_blocked(path) {
                let found = self.found.items.get(path);
                let found =
                    found.filter(|found| found.kind == item.kind && !changed.contains(path));
                self.keep_time(path, item, found);
            }
        }
    }

    /// Returns true for an item that is not copied, or is below one.
    fn is_blocked(&self, path: &[u8]) -> bool {
        let obstacles = &self.plan.obstacles;
        let is_obstacle = |path: &[u8]| obstacles.iter().any(|(other, _)| other == path);
        !obstacles.is_empty() && (is_obstacle(path) || directories_above(path).any(is_obstacle))
    }

    fn finish(mut self) -> Plan {
        // A directory without write permission, and the time of a directory, come after all changes in it.
        self.last.sort_by(|one, other| other.path().cmp(one.path()));
        // The mode of an item may forbid to set its time.
        self.last.sort_by_key(|action| matches!(action, MirrorAction::SetMode { .. }));
        self.plan.actions.append(&mut self.extra);
        self.plan.actions.append(&mut self.last);
        self.plan
    }
}

/// Returns true if the target of a link stays inside the tree.
///
/// SECURITY: a server chooses these targets. A later download through a link that leads out could replace any file of
/// the user.
fn stays_inside(path: &[u8], target: &[u8]) -> bool {
    if target.is_empty() || target.starts_with(b"/") || target.contains(&0) {
        return false;
    }
    let (mut depth, mut is_leading) = (directories_above(path).count() - 1, true);
    for part in target.split(|byte| *byte == b'/') {
        match (part, depth.checked_sub(1)) {
            // Behind another name, `..` may leave the tree: the name may be a link to a directory further up.
            (b"..", Some(up)) if is_leading => depth = up,
            (b"..", _) => return false,
            (b"" | b".", _) => {}
            _ => is_leading = false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    fn stamp(second: i64) -> Stamp {
        Stamp::exact(Timestamp::from_second(second).unwrap())
    }

    fn file(size: u64, second: i64) -> Item {
        Item {
            kind: ItemKind::File { size: Some(size) },
            modified: Some(stamp(second)),
            mode: Some(0o644),
        }
    }

    /// Returns one item with the kind, content, time and mode that a number stands for.
    fn item() -> impl Strategy<Value = Item> {
        let kind = prop_oneof![
            3 => (0..3_u64).prop_map(|size| ItemKind::File { size: Some(size) }),
            2 => Just(ItemKind::Directory),
            1 => "[ab]".prop_map(|target| ItemKind::Link { target: Some(target.into()) }),
        ];
        (kind, 0..3_i64, 0..2_u32).prop_map(|(kind, second, bit)| Item {
            kind,
            modified: Some(stamp(second)),
            mode: Some(0o640 | bit << 2),
        })
    }

    /// Returns a tree of short paths: an item below another makes that one a directory.
    fn tree() -> impl Strategy<Value = Tree> {
        let path = vec("[abc-]", 1..4).prop_map(|names| names.join("/").into_bytes());
        btree_map(path, item(), 0..12).prop_map(|mut items| {
            let paths: Vec<Vec<u8>> = items.keys().cloned().collect();
            for above in paths.iter().flat_map(|path| directories_above(path)) {
                if !above.is_empty() {
                    let item = items.entry(above.to_vec()).or_insert_with(|| file(0, 0));
                    item.kind = ItemKind::Directory;
                }
            }
            Tree { items, ..Tree::default() }
        })
    }

    /// Changes the time of the directory of an item, as a change of the item does.
    fn touch(tree: &mut Tree, path: &[u8]) {
        if let Some(above) = parent(path).and_then(|above| tree.items.get_mut(above)) {
            above.modified = Some(stamp(1000));
        }
    }

    /// Applies a plan, and checks that each action is possible when its turn comes.
    fn apply(plan: &Plan, found: &Tree) -> Tree {
        let mut tree = found.clone();
        for action in &plan.actions {
            let (path, made) = match action {
                MirrorAction::MakeDirectory { path } => {
                    (path, Some(Item { kind: ItemKind::Directory, modified: None, mode: None }))
                }
                MirrorAction::Transfer { path, item, .. } => (path, Some(item.clone())),
                MirrorAction::Link { path, target } => {
                    let kind = ItemKind::Link { target: Some(target.clone()) };
                    (path, Some(Item { kind, modified: None, mode: None }))
                }
                MirrorAction::Remove { path, is_directory } => {
                    let removed = tree.items.remove(path).unwrap();
                    assert_eq!(removed.kind == ItemKind::Directory, *is_directory);
                    assert_eq!(tree.below(path).count(), 0, "{path:?} is not empty");
                    touch(&mut tree, path);
                    (path, None)
                }
                MirrorAction::SetTime { path, modified } => {
                    tree.items.get_mut(path).unwrap().modified = Some(*modified);
                    (path, None)
                }
                MirrorAction::SetMode { path, mode } => {
                    tree.items.get_mut(path).unwrap().mode = Some(*mode);
                    (path, None)
                }
            };
            let Some(made) = made else { continue };
            touch(&mut tree, path);
            let above = parent(path).unwrap();
            let is_directory = |path: &[u8]| tree.items[path].kind == ItemKind::Directory;
            assert!(above.is_empty() || is_directory(above), "{path:?} has no directory");
            if let Some(before) = tree.items.insert(path.clone(), made.clone()) {
                assert!(before.kind.is_like(&made.kind) && made.kind != ItemKind::Directory);
            }
        }
        tree
    }

    /// Returns a tree without the times and modes of links, which no action sets.
    fn bare(tree: &Tree) -> Tree {
        let mut tree = tree.clone();
        for item in tree.items.values_mut() {
            if matches!(item.kind, ItemKind::Link { .. }) {
                (item.modified, item.mode) = (None, None);
            }
        }
        tree
    }

    proptest! {
        #[test]
        fn the_plan_gives_the_wanted_tree_and_the_next_is_empty(wanted in tree(), found in tree()) {
            let rules = Rules { delete: true, directory_times: true, ..Rules::default() };
            let first = plan(&wanted, &found, &rules);
            let blocked: Vec<&Vec<u8>> = first.obstacles.iter().map(|(path, _)| path).collect();
            let result = apply(&first, &found);
            if blocked.is_empty() {
                prop_assert_eq!(bare(&result), bare(&wanted));
            }
            let second = plan(&wanted, &result, &rules);
            prop_assert_eq!(second.actions, vec![]);
        }

        #[test]
        fn without_delete_nothing_is_removed(wanted in tree(), found in tree()) {
            let first = plan(&wanted, &found, &Rules::default());
            let result = apply(&first, &found);
            for (path, item) in &found.items {
                prop_assert!(result.items[path].kind.is_like(&item.kind));
            }
            for (path, item) in &wanted.items {
                let is_blocked = |path: &[u8]| first.obstacles.iter().any(|(other, _)| other == path);
                let blocked = is_blocked(path) || directories_above(path).any(is_blocked);
                prop_assert!(blocked || result.items[path].kind == item.kind);
            }
            prop_assert_eq!(plan(&wanted, &result, &Rules::default()).actions, vec![]);
        }

        #[test]
        fn a_directory_that_was_not_listed_loses_nothing(wanted in tree(), found in tree(), pick: prop::sample::Index) {
            let mut wanted = wanted;
            let paths: Vec<Vec<u8>> = found.items.keys().cloned().collect();
            prop_assume!(!paths.is_empty());
            let hidden = pick.get(&paths).clone();
            wanted.items.retain(|path, _| !path.starts_with(&hidden));
            wanted.items.insert(hidden.clone(), Item { kind: ItemKind::Directory, ..file(0, 0) });
            for above in directories_above(&hidden).filter(|path| !path.is_empty()) {
                wanted.items.insert(above.to_vec(), Item { kind: ItemKind::Directory, ..file(0, 0) });
            }
            prop_assume!(found.items[&hidden].kind == ItemKind::Directory);
            wanted.mark_incomplete(&hidden);
            let rules = Rules { delete: true, ..Rules::default() };
            let result = apply(&plan(&wanted, &found, &rules), &found);
            for (path, _) in found.below(&hidden) {
                prop_assert!(result.items.contains_key(path));
            }
        }
    }

    fn tree_of(items: &[(&str, Item)]) -> Tree {
        let items = items.iter().map(|(path, item)| (path.as_bytes().to_vec(), item.clone()));
        Tree { items: items.collect(), ..Tree::default() }
    }

    #[test]
    fn a_file_is_transferred_when_its_size_or_its_time_differs() {
        let check = |wanted: Item, found: Item, rules: &Rules, expected: Option<Difference>| {
            let made = plan(&tree_of(&[("a", wanted)]), &tree_of(&[("a", found)]), rules);
            let reason = made.actions.first().map(|action| match action {
                MirrorAction::Transfer { reason, .. } => *reason,
                other => panic!("{other}"),
            });
            assert_eq!(reason, expected);
        };
        let usual = Rules::default();
        check(file(1, 5), file(1, 5), &usual, None);
        check(file(1, 5), file(2, 5), &usual, Some(Difference::Size));
        check(file(1, 5), file(1, 6), &usual, Some(Difference::Time));
        let minute = Stamp { precision: 60, ..stamp(60) };
        check(Item { modified: Some(minute), ..file(1, 0) }, file(1, 119), &usual, None);
        check(Item { modified: None, ..file(1, 0) }, file(1, 9), &usual, None);
        let newer = Rules { only_newer: true, ..Rules::default() };
        check(file(2, 5), file(1, 6), &newer, None);
        check(file(2, 7), file(1, 6), &newer, Some(Difference::Size));
        let timeless = Rules { keeps_no_times: true, ..Rules::default() };
        check(file(1, 5), file(1, 6), &timeless, None);
        check(file(1, 7), file(1, 6), &timeless, Some(Difference::Time));
        let compared =
            |is_same| Rules { compared: [(b"a".to_vec(), is_same)].into(), ..Rules::default() };
        check(file(1, 5), file(1, 5), &compared(false), Some(Difference::Checksum));
        let made =
            plan(&tree_of(&[("a", file(1, 5))]), &tree_of(&[("a", file(1, 6))]), &compared(true));
        assert!(matches!(made.actions.as_slice(), [MirrorAction::SetTime { .. }]));
    }

    #[test]
    fn a_link_that_leads_out_of_the_tree_is_not_copied() {
        for (path, target, expected) in [
            ("l", "a", true),
            ("d/l", "../a", true),
            ("l", "./a/b", true),
            ("l", "/etc", false),
            ("l", "..", false),
            ("d/l", "../../a", false),
            ("d/l", "a/../..", false),
            ("d/l", "", false),
        ] {
            assert_eq!(
                stays_inside(path.as_bytes(), target.as_bytes()),
                expected,
                "{path} {target}"
            );
        }
    }

    #[test]
    fn what_is_excluded_on_the_target_keeps_its_directory() {
        let directory = Item { kind: ItemKind::Directory, ..file(0, 0) };
        let mut found = tree_of(&[("d", directory), ("d/a", file(1, 1)), ("e", file(1, 1))]);
        found.mark_incomplete(b"d");
        let rules = Rules { delete: true, ..Rules::default() };
        let made = plan(&Tree::default(), &found, &rules);
        let removed: Vec<String> = made.actions.iter().map(ToString::to_string).collect();
        assert_eq!(removed, ["rm e", "rm d/a"]);
    }
}
