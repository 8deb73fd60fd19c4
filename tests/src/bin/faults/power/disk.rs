//! A disk: what every process sees, and what survives when the power goes.
//!
//! What is legal is what POSIX promises, which is less than what any one filesystem
//! does. A name in a directory is durable once that directory was synced, and not
//! before: each change of each name survives or not, whatever becomes of the others,
//! also of the other half of a rename. The bytes of a file are durable once that
//! file was synced; until then a file may hold what it held before, nothing, a
//! beginning, NULs in its whole length, or old and new in turns.

use std::collections::BTreeMap;
use std::path::Path;

use super::trace::Op;

/// What stands on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Tree {
    Folder(BTreeMap<String, Self>),
    File(Vec<u8>),
    Socket,
}

/// Who decides what survives.
pub(super) trait Choose {
    /// One of `n`, of which the first is the oldest.
    fn choose(&mut self, part: Part, n: usize) -> usize;
}

/// What a choice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The records, and the directories on the way to them.
    Records,
    /// Everything else: what is there, not what it holds. Nobody reads it for what
    /// was acknowledged, and of the logs' bytes nothing is promised.
    Rest,
}

/// Something that changes, with all that it was since it last was durable. The
/// first is durable; the last is what is seen.
#[derive(Debug, Clone)]
struct Changing<T> {
    values: Vec<(usize, T)>,
}

#[derive(Debug, Clone)]
enum Inode {
    Folder(Vec<(String, Changing<Option<usize>>)>),
    File(Changing<Vec<u8>>),
    Socket,
}

/// The project's directory, as far as it is Monoco's.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    inodes: Vec<Inode>,
    /// How many operations there were.
    now: usize,
}

const PROJECT: usize = 0;

impl<T: Clone + PartialEq> Changing<T> {
    fn durable(value: T) -> Self {
        Self {
            values: vec![(0, value)],
        }
    }

    fn now(&self) -> &T {
        let last = self.values.last();
        &last.expect("there is always one").1
    }

    fn set(&mut self, at: usize, value: T) {
        if *self.now() != value {
            self.values.push((at, value));
        }
    }

    /// What was so before `covers` is durable.
    fn sync(&mut self, covers: usize) {
        let later = |(at, _): &(usize, T)| *at >= covers;
        let first = self.values.iter().skip(1).position(later);
        let durable = first.unwrap_or(self.values.len() - 1);
        self.values.drain(..durable);
    }

    /// All that may be left, once each.
    fn survivors(&self) -> Vec<&T> {
        let mut all: Vec<&T> = Vec::new();
        for (_, value) in &self.values {
            if !all.contains(&value) {
                all.push(value);
            }
        }
        all
    }
}

impl Disk {
    /// A project whose `.monoco` is `tree`, all of it durable.
    pub(super) fn durable(tree: Option<Tree>) -> Self {
        let mut disk = Self {
            inodes: vec![Inode::Folder(Vec::new())],
            now: 0,
        };
        if let Some(tree) = tree {
            let base = disk.add_tree(tree);
            let names = vec![(".monoco".to_owned(), Changing::durable(Some(base)))];
            disk.inodes[PROJECT] = Inode::Folder(names);
        }
        disk
    }

    fn add_tree(&mut self, tree: Tree) -> usize {
        let inode = match tree {
            Tree::File(bytes) => Inode::File(Changing::durable(bytes)),
            Tree::Socket => Inode::Socket,
            Tree::Folder(names) => {
                let names = names.into_iter();
                let names = names.map(|(name, tree)| {
                    let inode = self.add_tree(tree);
                    (name, Changing::durable(Some(inode)))
                });
                Inode::Folder(names.collect())
            }
        };
        self.add(inode)
    }

    fn add(&mut self, inode: Inode) -> usize {
        self.inodes.push(inode);
        self.inodes.len() - 1
    }

    /// What `op` does.
    pub(super) fn apply(&mut self, op: &Op) -> Result<(), String> {
        self.now += 1;
        match op {
            Op::Folder(path) => {
                let made = self.add(Inode::Folder(Vec::new()));
                self.name(path, Some(made))
            }
            Op::File(path) if self.find(path).is_some() => Ok(()),
            Op::File(path) => {
                let made = self.add(Inode::File(Changing::durable(Vec::new())));
                self.name(path, Some(made))
            }
            Op::Socket(path) => {
                let made = self.add(Inode::Socket);
                self.name(path, Some(made))
            }
            Op::Rename { from, to } => {
                let moved = self.find(from).ok_or_else(|| missing(from))?;
                self.name(from, None)?;
                self.name(to, Some(moved))
            }
            Op::Remove(path) => self.name(path, None),
            Op::Write { path, at, bytes } => self.change(path, |old| {
                let at = at.unwrap_or(old.len());
                old.resize(old.len().max(at + bytes.len()), 0);
                old[at..at + bytes.len()].copy_from_slice(bytes);
            }),
            Op::Length { path, len } => self.change(path, |old| old.resize(*len, 0)),
            Op::Room { path, len } => self.change(path, |old| old.resize(old.len().max(*len), 0)),
            Op::Sync { path, covers } => self.sync(path, *covers),
            Op::Executed { .. } | Op::Printed { .. } | Op::Ended { .. } => Ok(()),
        }
    }

    fn sync(&mut self, path: &str, covers: usize) -> Result<(), String> {
        let inode = self.find(path).ok_or_else(|| missing(path))?;
        match &mut self.inodes[inode] {
            Inode::Folder(names) => {
                for (_, name) in names.iter_mut() {
                    name.sync(covers);
                }
                names.retain(|(_, name)| name.values.len() > 1 || name.now().is_some());
            }
            Inode::File(bytes) => bytes.sync(covers),
            Inode::Socket => {}
        }
        Ok(())
    }

    fn change(&mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<(), String> {
        let at = self.now - 1;
        let inode = self.find(path).ok_or_else(|| missing(path))?;
        let Inode::File(bytes) = &mut self.inodes[inode] else {
            return Err(format!("{path} is no file"));
        };
        let mut new = bytes.now().clone();
        change(&mut new);
        bytes.set(at, new);
        Ok(())
    }

    /// Lets `path` lead to `inode`.
    fn name(&mut self, path: &str, inode: Option<usize>) -> Result<(), String> {
        let at = self.now - 1;
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.find(folder).ok_or_else(|| missing(folder))?;
        let Inode::Folder(names) = &mut self.inodes[folder] else {
            return Err(format!("{path} is in no directory"));
        };
        let known = names.iter_mut().find(|(known, _)| known == name);
        match known {
            Some((_, known)) => known.set(at, inode),
            None => {
                let mut new = Changing::durable(None);
                new.set(at, inode);
                names.push((name.to_owned(), new));
            }
        }
        Ok(())
    }

    fn find(&self, path: &str) -> Option<usize> {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.into_iter().try_fold(PROJECT, |folder, name| {
            let Inode::Folder(names) = &self.inodes[folder] else {
                return None;
            };
            let (_, inode) = names.iter().find(|(known, _)| known == name)?;
            *inode.now()
        })
    }

    /// What a file holds, as everybody sees it.
    pub(super) fn bytes(&self, path: &str) -> Option<&[u8]> {
        match &self.inodes[self.find(path)?] {
            Inode::File(bytes) => Some(bytes.now()),
            _ => None,
        }
    }

    /// How many ways there are to lose the power now, at most; and how many, if only
    /// what becomes of the records is told apart.
    pub(super) fn n_states(&self) -> (f64, f64) {
        self.n_states_of(PROJECT, "")
    }

    fn n_states_of(&self, inode: usize, path: &str) -> (f64, f64) {
        let names = match &self.inodes[inode] {
            Inode::Folder(names) => names,
            Inode::File(bytes) if part(path) == Part::Records => {
                let n = contents(bytes).len() as f64;
                return (n, n);
            }
            _ => return (1.0, 1.0),
        };
        let (mut all, mut records) = (1.0, 1.0);
        for (name, inode) in names {
            let path = format!("{path}/{name}");
            let survivors = inode.survivors().into_iter();
            let each = survivors.map(|inode| match inode {
                Some(inode) => self.n_states_of(*inode, &path),
                None => (1.0, 1.0),
            });
            let (sum, sum_of_records) = each.fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
            all *= sum;
            if part(&path) == Part::Records {
                records *= sum_of_records;
            }
        }
        (all, records)
    }

    /// What is left of `.monoco` when the power goes now, and `chooser` is fate.
    pub(super) fn lose_power(&self, chooser: &mut impl Choose) -> Option<Tree> {
        match self.survivor(PROJECT, "", chooser, &mut BTreeMap::new()) {
            Tree::Folder(mut names) => names.remove(".monoco"),
            _ => None,
        }
    }

    fn survivor(
        &self,
        inode: usize,
        path: &str,
        chooser: &mut impl Choose,
        chosen: &mut BTreeMap<usize, Tree>,
    ) -> Tree {
        // A name and another that lead to one file lead to the same bytes.
        if let Some(tree) = chosen.get(&inode) {
            return tree.clone();
        }
        let tree = match &self.inodes[inode] {
            Inode::Socket => Tree::Socket,
            // Its bytes matter to nobody, so they are not chosen for all its names.
            Inode::File(bytes) if part(path) == Part::Rest => {
                return Tree::File(bytes.now().clone());
            }
            Inode::File(bytes) => {
                let mut contents = contents(bytes);
                let i = chooser.choose(Part::Records, contents.len());
                Tree::File(contents.swap_remove(i))
            }
            Inode::Folder(names) => {
                let mut left = BTreeMap::new();
                for (name, inode) in names {
                    let path = format!("{path}/{name}");
                    let survivors = inode.survivors();
                    let i = chooser.choose(part(&path), survivors.len());
                    if let Some(inode) = survivors[i] {
                        left.insert(name.clone(), self.survivor(*inode, &path, chooser, chosen));
                    }
                }
                Tree::Folder(left)
            }
        };
        chosen.insert(inode, tree.clone());
        tree
    }

    /// What everybody sees of `.monoco`.
    pub(super) fn seen(&self) -> Option<Tree> {
        struct Latest;
        impl Choose for Latest {
            fn choose(&mut self, _: Part, _: usize) -> usize {
                unreachable!("nothing is left to choose on a disk that is in sync")
            }
        }
        let mut disk = self.clone();
        for inode in &mut disk.inodes {
            match inode {
                Inode::Folder(names) => names.iter_mut().for_each(|(_, n)| n.sync(usize::MAX)),
                Inode::File(bytes) => bytes.sync(usize::MAX),
                Inode::Socket => {}
            }
        }
        disk.lose_power(&mut Certain(Latest))
    }
}

/// Chooses only where there is a choice.
pub(super) struct Certain<C>(pub(super) C);

impl<C: Choose> Choose for Certain<C> {
    fn choose(&mut self, part: Part, n: usize) -> usize {
        if n == 1 { 0 } else { self.0.choose(part, n) }
    }
}

/// All that a file may hold, once each.
fn contents(bytes: &Changing<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = bytes.survivors().into_iter().cloned().collect();
    for pair in bytes.values.windows(2) {
        let [(_, old), (_, new)] = pair else { continue };
        let half = new.len() / 2;
        let beginning = &new[..half];
        let zeroes = vec![0; new.len()];
        let rest = |of: &[u8]| of.get(half..).unwrap_or_default().to_vec();
        let and_zeroes = [beginning, &rest(&zeroes)].concat();
        let new_and_old = [beginning, &rest(old)].concat();
        let old_and_new = [&old[..half.min(old.len())], &rest(new)].concat();
        for torn in [
            beginning.to_vec(),
            zeroes,
            and_zeroes,
            new_and_old,
            old_and_new,
        ] {
            if !all.contains(&torn) {
                all.push(torn);
            }
        }
    }
    all
}

/// What a path, with a `/` before it, is part of.
fn part(path: &str) -> Part {
    let is_record = path.starts_with("/.monoco/sessions/") && path.ends_with(".json");
    match path {
        "/.monoco" | "/.monoco/sessions" => Part::Records,
        _ if is_record => Part::Records,
        _ => Part::Rest,
    }
}

fn missing(path: &str) -> String {
    format!("{path} is not there")
}

impl Tree {
    /// What stands at `path`.
    pub(super) fn read(path: &Path) -> std::io::Result<Option<Self>> {
        let Ok(meta) = path.symlink_metadata() else {
            return Ok(None);
        };
        if meta.is_file() {
            return Ok(Some(Self::File(std::fs::read(path)?)));
        }
        if !meta.is_dir() {
            return Ok(Some(Self::Socket));
        }
        let mut names = BTreeMap::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            names.extend(Self::read(&entry.path())?.map(|tree| (name, tree)));
        }
        Ok(Some(Self::Folder(names)))
    }

    /// What stands below this at `path`.
    pub(super) fn get(&self, path: &str) -> Option<&Self> {
        path.split('/').try_fold(self, |tree, name| match tree {
            Self::Folder(names) => names.get(name),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
