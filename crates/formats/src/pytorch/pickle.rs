//! A pickle machine that executes nothing.
//!
//! A pickle is a program for a stack machine.  Python's runs it, importing and calling whatever it names; this one only
//! writes down *what would be called with what*, as [`Object::Call`].  The tensors are later read off these notes
//! (see `rebuild.rs`); whatever else the file wanted to call stays a note.
//!
//! Objects live in an arena and refer to each other by [`Id`], so that deep or cyclic structures cost no stack, neither
//! here nor when they are dropped.  Every opcode takes at least a byte and makes at most one object; both are limited.

use std::collections::HashMap;

/// Opcodes that are executed, at most.
const N_OPS_MAX: usize = 1 << 24;
/// Objects that are made, at most; the checkpoint of a network with a thousand layers has some hundred thousand.
const N_OBJECTS_MAX: usize = 1 << 22;

/// Position of an object in its [`Pickle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(u32);

/// What a pickle made, or would have made.
#[derive(Debug)]
pub(super) enum Object<'a> {
    None,
    Bool(bool),
    Int(i128),
    /// Text, as it lies in the file.
    Str(&'a str),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// Something that would be imported: module and name.
    Global(Box<(&'a str, &'a str)>),
    /// A reference to data outside the pickle.
    Persistent(Id),
    /// Something that would be called.
    Call(Box<Call>),
    /// A value that no tensor needs: floats, byte strings, sets, integers beyond 128 bits.
    Opaque,
}

/// A call that was not made.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) function: Id,
    pub(super) args: Id,
    /// Pairs that would be set on the result.
    pub(super) items: Vec<(Id, Id)>,
    /// What the result's `__setstate__` would be given.
    pub(super) state: Option<Id>,
}

/// The notes of one pickle.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    objects: Vec<Object<'a>>,
    top: Id,
}

/// Why and where a pickle cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("pickle, byte {at}: {what}")]
pub(super) struct PickleError {
    pub(super) at: usize,
    pub(super) what: String,
}

impl<'a> Pickle<'a> {
    /// Reads one pickle; returns it with the number of bytes it took.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<(Self, usize), PickleError> {
        let mut machine = Machine {
            bytes,
            at: 0,
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            n_ops: 0,
        };
        match machine.run() {
            Ok(top) => Ok((Pickle { objects: machine.objects, top }, machine.at)),
            Err(what) => Err(PickleError { at: machine.at, what }),
        }
    }

    /// The value of the whole pickle.
    pub(super) fn top(&self) -> Id {
        self.top
    }

    pub(super) fn get(&self, id: Id) -> &Object<'a> {
        &self.objects[id.0 as usize]
    }

    /// All objects, in the order of their making.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        (0..self.objects.len() as u32).map(Id)
    }

    pub(super) fn str(&self, id: Id) -> Option<&'a str> {
        match self.get(id) {
            Object::Str(s) => Some(s),
            _ => None,
        }
    }

    pub(super) fn int(&self, id: Id) -> Option<i128> {
        match self.get(id) {
            Object::Int(n) => Some(*n),
            _ => None,
        }
    }

    pub(super) fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Object::Tuple(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn global(&self, id: Id) -> Option<(&'a str, &'a str)> {
        match self.get(id) {
            Object::Global(name) => Some(**name),
            _ => None,
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    objects: Vec<Object<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at which marks were set.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    n_ops: usize,
}

type Step<T = ()> = Result<T, String>;

impl<'a> Machine<'a> {
    fn run(&mut self) -> Step<Id> {
        loop {
            self.n_ops += 1;
            if self.n_ops > N_OPS_MAX {
                return Err(format!("more than {N_OPS_MAX} opcodes"));
            }
            let op = self.u8()?;
            if op == b'.' {
                return self.pop();
            }
            self.step(op)?;
        }
    }

    fn step(&mut self, op: u8) -> Step {
        match op {
            // Frames and protocol.
            0x80 => match self.u8()? {
                0..=5 => Ok(()),
                version => Err(format!("protocol {version} (known: 0 to 5)")),
            },
            0x95 => self.le(8).map(drop),
            // The stack.
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.drop_top(),
            b'1' => self.pop_mark().map(drop),
            b'2' => {
                let top = self.peek()?;
                self.push_id(top)
            }
            // Scalars.
            b'N' => self.push(Object::None),
            0x88 => self.push(Object::Bool(true)),
            0x89 => self.push(Object::Bool(false)),
            b'K' => self.le(1).and_then(|n| self.push(Object::Int(n.into()))),
            b'M' => self.le(2).and_then(|n| self.push(Object::Int(n.into()))),
            b'J' => self.le(4).and_then(|n| self.push(Object::Int((n as u32 as i32).into()))),
            b'I' => self.text_int(true),
            b'L' => self.text_int(false),
            0x8a => self.le(1).and_then(|n| self.long(n)),
            0x8b => self.le(4).and_then(|n| self.long(n)),
            b'F' => self.line().and_then(|_| self.push(Object::Opaque)),
            b'G' => self.take(8).and_then(|_| self.push(Object::Opaque)),
            // Text and bytes.
            b'X' => self.le(4).and_then(|n| self.text(n)),
            0x8c => self.le(1).and_then(|n| self.text(n)),
            0x8d => self.le(8).and_then(|n| self.text(n)),
            b'U' => self.le(1).and_then(|n| self.python2_text(n)),
            b'T' => self.le(4).and_then(|n| self.python2_text(n)),
            b'V' | b'S' => self.line_text(op == b'S'),
            b'C' => self.le(1).and_then(|n| self.opaque_bytes(n)),
            b'B' => self.le(4).and_then(|n| self.opaque_bytes(n)),
            0x8e | 0x96 => self.le(8).and_then(|n| self.opaque_bytes(n)),
            // Containers.
            b')' => self.push(Object::Tuple(Vec::new())),
            b't' => self.pop_mark().and_then(|items| self.push(Object::Tuple(items))),
            0x85..=0x87 => self.short_tuple(usize::from(op - 0x84)),
            b']' => self.push(Object::List(Vec::new())),
            b'l' => self.pop_mark().and_then(|items| self.push(Object::List(items))),
            b'a' => self.pop().and_then(|item| self.append(vec![item])),
            b'e' => self.pop_mark().and_then(|items| self.append(items)),
            b'}' => self.push(Object::Dict(Vec::new())),
            b'd' => {
                self.pop_mark().and_then(|items| Ok(Object::Dict(pairs(&items)?))).and_then(|d| self.push(d))
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(vec![(key, value)])
            }
            b'u' => self.pop_mark().and_then(|items| pairs(&items)).and_then(|items| self.set_items(items)),
            0x8f => self.push(Object::Opaque),
            0x90 => self.pop_mark().map(drop),
            0x91 => self.pop_mark().and_then(|_| self.push(Object::Opaque)),
            // The memo.
            b'p' => self.line_number().and_then(|key| self.put(key)),
            b'q' => self.le(1).and_then(|key| self.put(key)),
            b'r' => self.le(4).and_then(|key| self.put(key)),
            0x94 => self.put(self.memo.len() as u64),
            b'g' => self.line_number().and_then(|key| self.recall(key)),
            b'h' => self.le(1).and_then(|key| self.recall(key)),
            b'j' => self.le(4).and_then(|key| self.recall(key)),
            // What Python would import and call.
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Object::Global(Box::new((module, name))))
            }
            0x93 => self.stack_global(),
            b'R' | 0x81 => {
                let args = self.pop()?;
                let function = self.pop()?;
                self.call(function, args)
            }
            0x92 => {
                // Keyword arguments belong to no constructor that we know.
                self.drop_top()?;
                let args = self.pop()?;
                let function = self.pop()?;
                self.call(function, args)
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let args = self.pop_mark()?;
                let args = self.make(Object::Tuple(args))?;
                let function = self.make(Object::Global(Box::new((module, name))))?;
                self.call(function, args)
            }
            b'o' => {
                let mut items = self.pop_mark()?;
                if items.is_empty() {
                    return Err("an object without a class".into());
                }
                let function = items.remove(0);
                let args = self.make(Object::Tuple(items))?;
                self.call(function, args)
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.peek()?;
                if let Object::Call(call) = &mut self.objects[target.0 as usize] {
                    call.state = Some(state);
                }
                Ok(())
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Object::Persistent(id))
            }
            b'P' => Err("a persistent id as text, which torch.save does not write".into()),
            0x82..=0x84 => Err("an entry of Python's extension registry, which no file brings along".into()),
            0x97 | 0x98 => Err("an out-of-band buffer, which is not in this file".into()),
            _ => Err(format!("unknown opcode {op:#04x}")),
        }
    }

    fn call(&mut self, function: Id, args: Id) -> Step {
        self.push(Object::Call(Box::new(Call { function, args, items: Vec::new(), state: None })))
    }

    fn stack_global(&mut self) -> Step {
        let (name, module) = (self.pop()?, self.pop()?);
        match (&self.objects[module.0 as usize], &self.objects[name.0 as usize]) {
            (Object::Str(module), Object::Str(name)) => {
                let global = Object::Global(Box::new((*module, *name)));
                self.push(global)
            }
            _ => Err("a global that is not named by text".into()),
        }
    }

    fn short_tuple(&mut self, n: usize) -> Step {
        let from = self.stack.len().checked_sub(n).filter(|&from| from >= self.floor()).ok_or(UNDERFLOW)?;
        let items = self.stack.drain(from..).collect();
        self.push(Object::Tuple(items))
    }

    fn append(&mut self, items: Vec<Id>) -> Step {
        let target = self.peek()?;
        match &mut self.objects[target.0 as usize] {
            Object::List(list) => list.extend(items),
            // A subclass of list: not a container of ours.
            Object::Call(_) => {}
            _ => return Err("items are appended to what is not a list".into()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: Vec<(Id, Id)>) -> Step {
        let target = self.peek()?;
        match &mut self.objects[target.0 as usize] {
            Object::Dict(dict) => dict.extend(items),
            Object::Call(call) => call.items.extend(items),
            _ => return Err("items are set on what is not a dictionary".into()),
        }
        Ok(())
    }

    fn put(&mut self, key: u64) -> Step {
        let top = self.peek()?;
        if self.memo.len() >= N_OBJECTS_MAX {
            return Err(format!("more than {N_OBJECTS_MAX} memo entries"));
        }
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Step {
        let id = *self.memo.get(&key).ok_or_else(|| format!("memo entry {key} was never set"))?;
        self.push_id(id)
    }

    fn make(&mut self, object: Object<'a>) -> Step<Id> {
        if self.objects.len() >= N_OBJECTS_MAX {
            return Err(format!("more than {N_OBJECTS_MAX} objects"));
        }
        self.objects.push(object);
        Ok(Id(self.objects.len() as u32 - 1))
    }

    fn push(&mut self, object: Object<'a>) -> Step {
        let id = self.make(object)?;
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Step {
        self.stack.push(id);
        Ok(())
    }

    /// Below this height the stack belongs to what came before the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn peek(&self) -> Step<Id> {
        self.stack.last().copied().filter(|_| self.stack.len() > self.floor()).ok_or_else(|| UNDERFLOW.into())
    }

    fn pop(&mut self) -> Step<Id> {
        let top = self.peek()?;
        self.stack.pop();
        Ok(top)
    }

    /// POP takes a mark if that is what lies on top.
    fn drop_top(&mut self) -> Step {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn pop_mark(&mut self) -> Step<Vec<Id>> {
        let from = self.marks.pop().ok_or("no mark on the stack")?;
        Ok(self.stack.drain(from..).collect())
    }

    fn take(&mut self, n: u64) -> Step<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let n = usize::try_from(n).ok().filter(|&n| n <= rest.len());
        let n = n.ok_or_else(|| format!("the data ends {} bytes later", rest.len()))?;
        self.at += n;
        Ok(&rest[..n])
    }

    fn u8(&mut self) -> Step<u8> {
        Ok(self.take(1)?[0])
    }

    /// An unsigned little-endian integer of 1 to 8 bytes.
    fn le(&mut self, n: u64) -> Step<u64> {
        Ok(self.take(n)?.iter().rev().fold(0, |acc, &b| acc << 8 | u64::from(b)))
    }

    fn line(&mut self) -> Step<&'a str> {
        let rest = &self.bytes[self.at..];
        let n = rest.iter().position(|&b| b == b'\n').ok_or("a line without an end")?;
        self.at += n + 1;
        std::str::from_utf8(&rest[..n]).map_err(|_| "a line that is not UTF-8".into())
    }

    fn line_number(&mut self) -> Step<u64> {
        self.line()?.parse().map_err(|_| "a memo key that is not a number".into())
    }

    fn text_int(&mut self, bools: bool) -> Step {
        let line = self.line()?;
        let object = match line {
            "00" if bools => Object::Bool(false),
            "01" if bools => Object::Bool(true),
            _ => line.trim_end_matches('L').parse().map_or(Object::Opaque, Object::Int),
        };
        self.push(object)
    }

    /// Two's complement, little-endian.
    fn long(&mut self, n: u64) -> Step {
        let bytes = self.take(n)?;
        let object = if bytes.len() > 16 {
            Object::Opaque
        } else {
            let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
            let mut wide = [sign; 16];
            wide[..bytes.len()].copy_from_slice(bytes);
            Object::Int(i128::from_le_bytes(wide))
        };
        self.push(object)
    }

    fn text(&mut self, n: u64) -> Step {
        let text = std::str::from_utf8(self.take(n)?).map_err(|_| "text that is not UTF-8")?;
        self.push(Object::Str(text))
    }

    /// Python 2 did not tell text from bytes: names of its tensors are written like this.
    fn python2_text(&mut self, n: u64) -> Step {
        let bytes = self.take(n)?;
        self.push(std::str::from_utf8(bytes).map_or(Object::Opaque, Object::Str))
    }

    /// Protocol 0.  Escapes occur in no name of a tensor, so they are not undone.
    fn line_text(&mut self, quoted: bool) -> Step {
        let line = self.line()?;
        let text = if quoted {
            let inner = |q: char| line.strip_prefix(q)?.strip_suffix(q);
            inner('\'').or_else(|| inner('"')).ok_or("a string without quotes")?
        } else {
            line
        };
        self.push(if text.contains('\\') { Object::Opaque } else { Object::Str(text) })
    }

    fn opaque_bytes(&mut self, n: u64) -> Step {
        self.take(n)?;
        self.push(Object::Opaque)
    }
}

const UNDERFLOW: &str = "the stack is empty";

fn pairs(items: &[Id]) -> Step<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("a key without a value".into());
    }
    Ok(pairs.iter().map(|&[k, v]| (k, v)).collect())
}
