//! Which names there are: listing folders, and what a name that comes or goes changes.

use std::os::fd::OwnedFd;

use vrift_core::vdir::layout::flag;
use vrift_core::vdir::{EntryData, Full};

use super::super::list::{Item, Listed, join};
use super::{Folder, Tree};

impl Tree {
    /// A name came, went, or means something else now.
    pub(super) fn name_changed(&mut self, folder: u32, name: &[u8]) {
        if !self.folders.contains_key(&folder) {
            return;
        }
        let flags = self.writer.flags(folder);
        self.writer.set_flags(folder, flags & !flag::ORDERED);
        self.forget_stat(folder);
        self.tries.remove(&folder);
        if self.on_demand && self.is_restless(folder) {
            self.close(folder);
            return;
        }
        let path = self.path(folder);
        let known = self.writer.find(&join(&path, name));
        let item = self.lister(&path).look(&path, name);
        match (known, item) {
            (Some(known), Some(item)) if self.is_same(known, &item) => {}
            (known, item) => {
                if let Some(known) = known {
                    self.remove(known);
                }
                let mut more = Vec::new();
                if item.is_some_and(|item| self.add(folder, &path, item, &mut more).is_err()) {
                    self.close(folder);
                }
                self.list_below(more);
            }
        }
    }

    pub(super) fn is_same(&self, known: u32, item: &Item) -> bool {
        let same = self.writer.flags(known) & flag::KIND == item.kind && self.writer.ino(known) == item.ino;
        // An inode's number is given again; what a link leads to is in the map.
        same && item.kind != flag::LINK && (item.kind != flag::DIR || self.on_demand || self.folders.contains_key(&known))
    }

    /// Lists a folder anew; it, open. `None` where the kernel answers for what is in it.
    pub(super) fn list(&mut self, number: u32) -> Option<OwnedFd> {
        let path = self.path(number);
        if !self.folders.contains_key(&number) && self.folders.len() + self.files.len() >= self.most_watches {
            return None;
        }
        let Some(mut listed) =
            self.lister(&path).list(&path).filter(|listed| listed.ino == self.writer.ino(number) || number == 0)
        else {
            self.close(number);
            return None;
        };
        let fd = listed.fd.take();
        let mut more = Vec::new();
        self.fill(number, listed, &mut more);
        self.list_below(more);
        fd
    }

    pub(super) fn list_below(&mut self, mut folders: Vec<u32>) {
        while let Some(number) = folders.pop() {
            let path = self.path(number);
            if let Some(listed) = self.lister(&path).list(&path).filter(|listed| listed.ino == self.writer.ino(number)) {
                self.fill(number, listed, &mut folders);
            }
        }
    }

    /// Makes a folder's entries what was listed. Folders that have to be listed themselves are added to `more`.
    pub(super) fn fill(&mut self, number: u32, listed: Listed, more: &mut Vec<u32>) {
        let old = self.folders.remove(&number);
        let mut gone = old.as_ref().map(|folder| folder.entries.clone()).unwrap_or_default();
        if let Some(old) = old.filter(|old| old.watch != listed.watch) {
            self.release(old.watch, number);
        }
        let names = self.watched.entry(listed.watch).or_default();
        if !names.contains(&number) {
            names.push(number);
        }
        self.folders.insert(number, Folder { watch: listed.watch, entries: gone.clone() });
        let mut order = Vec::with_capacity(listed.items.len());
        for item in listed.items {
            let known = self.writer.find(&join(&listed.path, &item.name));
            match known {
                Some(known) if self.is_same(known, &item) => {
                    gone.remove(&known);
                    order.push(known);
                    continue;
                }
                Some(known) => {
                    gone.remove(&known);
                    self.remove(known);
                }
                None => {}
            }
            match self.add(number, &listed.path, item, more) {
                Ok(added) => order.push(added),
                Err(Full) => {
                    self.close(number);
                    if !self.may_grow {
                        self.leave(number);
                    }
                    return;
                }
            }
        }
        gone.into_iter().for_each(|number| self.remove(number));
        if number == 0 && !self.on_demand {
            let root = EntryData { flags: self.writer.flags(0), ino: listed.ino, stat: None };
            let _ = self.writer.set_entry(b"", &root);
        }
        self.writer.set_order(number, &order);
        self.writer.set_flags(number, self.writer.flags(number) & !flag::STAT | flag::LISTED);
    }

    pub(super) fn add(&mut self, folder: u32, path: &[u8], item: Item, more: &mut Vec<u32>) -> Result<u32, Full> {
        let path = join(path, &item.name);
        self.note(|| path.clone(), true);
        let stat = item.link.as_ref().map(|(_, stat)| *stat);
        let data = EntryData { flags: item.kind, ino: item.ino, stat };
        let added = self.writer.set_entry(&path, &data).and_then(|number| match &item.link {
            Some((target, _)) => self.writer.set_target(number, target).map(|()| number),
            None => Ok(number),
        });
        let Ok(number) = added else {
            self.writer.remove(&path);
            self.outgrown = true;
            return Err(Full);
        };
        self.set_item(number, folder, item.name);
        if let Some(folder) = self.folders.get_mut(&folder) {
            folder.entries.insert(number);
        }
        if item.kind == flag::DIR && !self.on_demand {
            more.push(number);
        }
        Ok(number)
    }

    pub(super) fn set_item(&mut self, number: u32, folder: u32, name: Box<[u8]>) {
        if self.items.len() <= number as usize {
            self.items.resize(number as usize + 1, None);
        }
        self.items[number as usize] = Some((folder, name));
    }

    /// Removes an entry and all that is below it.
    pub(super) fn remove(&mut self, number: u32) {
        self.close(number);
        let path = self.path(number);
        let Some((parent, _)) = self.items.get_mut(number as usize).and_then(Option::take) else { return };
        self.note(|| path.clone(), true);
        if let Some(folder) = self.folders.get_mut(&parent) {
            folder.entries.remove(&number);
        }
        if let Some(watch) = self.files.remove(&number) {
            self.release(watch, number);
        }
        self.holds.remove(&number);
        self.changes.remove(&number);
        self.later.remove(&number);
        self.tries.remove(&number);
        self.open_questions.push(number);
        self.writer.remove(&path);
    }

    /// From now on the kernel answers for what is in a folder.
    pub(super) fn close(&mut self, number: u32) {
        let Some(folder) = self.folders.remove(&number) else { return };
        self.note(|| self.path(number), true);
        for entry in folder.entries {
            self.remove(entry);
        }
        self.release(folder.watch, number);
        let flags = self.writer.flags(number);
        self.writer.set_flags(number, flags & !(flag::LISTED | flag::ORDERED));
        self.forget_stat(number);
        // Whoever remembers its path has to ask again.
        self.writer.turn();
    }
}
