//! Nodes, constants and sizes of a file that is being written.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use headstart_graph::{DType, Dim, ElementKind, Expr, Literal, ValueId};

use super::super::proto::{Attribute, Node, Tensor, attribute_kind, elem};

/// Collects nodes and initialisers.
pub(super) struct Emitter {
    pub(super) opset: i64,
    nodes: Vec<Node>,
    initialisers: Vec<Tensor>,
    names: HashSet<String>,
    paths: HashSet<String>,
    bound: HashMap<ValueId, String>,
    /// Where a symbol is measured: input and axis.
    symbols: HashMap<String, (String, usize)>,
    /// Constants and sizes that were written already.
    cache: HashMap<String, String>,
}

impl Emitter {
    pub(super) fn new(opset: i64) -> Self {
        Emitter {
            opset,
            nodes: Vec::new(),
            initialisers: Vec::new(),
            names: HashSet::new(),
            paths: HashSet::new(),
            bound: HashMap::new(),
            symbols: HashMap::new(),
            cache: HashMap::new(),
        }
    }

    pub(super) fn finish(self) -> (Vec<Node>, Vec<Tensor>) {
        (self.nodes, self.initialisers)
    }

    /// Takes a name for a value; another one may then not have it.
    pub(super) fn reserve(&mut self, name: &str) {
        self.names.insert(name.into());
    }

    pub(super) fn bind(&mut self, id: ValueId, name: String) {
        self.bound.insert(id, name);
    }

    /// The name of a value.
    pub(super) fn name(&self, id: ValueId) -> String {
        self.bound[&id].clone()
    }

    pub(super) fn symbol(&mut self, symbol: &str, input: &str, axis: usize) {
        self.symbols.entry(symbol.into()).or_insert((input.into(), axis));
    }

    fn free(&mut self, name: &str) -> String {
        let mut free = name.to_string();
        let mut n = 1;
        while !self.names.insert(free.clone()) {
            n += 1;
            free = format!("{name}_{n}");
        }
        free
    }

    /// Adds a node whose outputs have the names given.
    pub(super) fn push(
        &mut self,
        op: &str,
        path: &str,
        inputs: &[&str],
        outputs: &[&str],
        attribute: Vec<Attribute>,
    ) {
        // onnxruntime wants every node's name once.
        let mut name = path.to_string();
        let mut n = 1;
        while !self.paths.insert(name.clone()) {
            n += 1;
            name = format!("{path}_{n}");
        }
        self.nodes.push(Node {
            input: inputs.iter().map(|s| s.to_string()).collect(),
            output: outputs.iter().map(|s| s.to_string()).collect(),
            name,
            op_type: op.into(),
            attribute,
            domain: String::new(),
        });
    }

    /// Adds a node with one output, which is called after its path.
    pub(super) fn one(&mut self, op: &str, path: &str, inputs: &[&str], attribute: Vec<Attribute>) -> String {
        let output = self.free(path);
        self.push(op, path, inputs, &[&output], attribute);
        output
    }

    pub(super) fn initialiser(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.initialisers.push(Tensor {
            dims: shape.iter().map(|&n| n as i64).collect(),
            data_type: elem::FLOAT,
            name: name.into(),
            raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into(),
            ..Tensor::default()
        });
    }

    /// A constant at a path of its own.
    pub(super) fn literal(&mut self, path: &str, literal: &Literal) -> String {
        let data_type = match literal.dtype() {
            DType::I64 => elem::INT64,
            DType::Bool => elem::BOOL,
            _ => elem::FLOAT,
        };
        let dims = literal.shape().iter().map(|&n| n as i64).collect();
        self.constant(path, dims, data_type, literal.tensor().bytes().clone())
    }

    fn constant(&mut self, path: &str, dims: Vec<i64>, data_type: i32, raw_data: Bytes) -> String {
        let tensor = Tensor { dims, data_type, raw_data, ..Tensor::default() };
        let value = Attribute {
            name: "value".into(),
            kind: attribute_kind::TENSOR,
            t: Some(tensor),
            ..Attribute::default()
        };
        self.one("Constant", path, &[], vec![value])
    }

    /// A vector of integers.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        let key = format!("i {values:?}");
        self.cached(key, |e| {
            let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
            e.constant("ints", vec![values.len() as i64], elem::INT64, raw.into())
        })
    }

    /// One integer without axes.
    pub(super) fn int(&mut self, value: i64) -> String {
        self.cached(format!("s {value}"), |e| {
            e.constant("int", Vec::new(), elem::INT64, value.to_le_bytes().to_vec().into())
        })
    }

    /// One float without axes.
    pub(super) fn float(&mut self, value: f64) -> String {
        let value = value as f32;
        self.cached(format!("f {}", value.to_bits()), |e| {
            e.constant("float", Vec::new(), elem::FLOAT, value.to_le_bytes().to_vec().into())
        })
    }

    /// Floats of any shape.
    pub(super) fn floats(&mut self, shape: &[usize], values: &[f32]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        self.constant("floats", shape.iter().map(|&n| n as i64).collect(), elem::FLOAT, raw.into())
    }

    fn cached(&mut self, key: String, make: impl FnOnce(&mut Self) -> String) -> String {
        if let Some(name) = self.cache.get(&key) {
            return name.clone();
        }
        let name = make(self);
        self.cache.insert(key, name.clone());
        name
    }

    /// A size as a vector of one integer, measured where the run gives it.
    pub(super) fn size(&mut self, expr: &Expr) -> Result<String, String> {
        if let Some(n) = expr.as_number() {
            return Ok(self.ints(&[n]));
        }
        let key = format!("e {expr}");
        if let Some(name) = self.cache.get(&key) {
            return Ok(name.clone());
        }
        let terms: Vec<(Vec<String>, i64)> = expr.terms().map(|(s, n)| (s.to_vec(), n)).collect();
        let mut sum: Option<String> = None;
        for (symbols, n) in terms {
            let mut product = if n == 1 && !symbols.is_empty() { None } else { Some(self.ints(&[n])) };
            for s in &symbols {
                let value = self.atom(s)?;
                product = Some(match product {
                    Some(p) => self.one("Mul", "size", &[&p, &value], Vec::new()),
                    None => value,
                });
            }
            let product = product.unwrap_or_else(|| self.ints(&[n]));
            sum = Some(match sum {
                Some(s) => self.one("Add", "size", &[&s, &product], Vec::new()),
                None => product,
            });
        }
        let name = sum.unwrap_or_else(|| self.ints(&[0]));
        self.cache.insert(key, name.clone());
        Ok(name)
    }

    fn atom(&mut self, symbol: &str) -> Result<String, String> {
        let key = format!("a {symbol}");
        if let Some(name) = self.cache.get(&key) {
            return Ok(name.clone());
        }
        let name = match Expr::function_of(symbol) {
            Some((function, a, b)) => {
                let (a, b) = (self.size(&a)?, self.size(&b)?);
                let op = match function {
                    "floor" => "Div",
                    "mod" => "Mod",
                    "max" => "Max",
                    _ => "Min",
                };
                self.one(op, "size", &[&a, &b], Vec::new())
            }
            None => {
                let (input, axis) = self
                    .symbols
                    .get(symbol)
                    .cloned()
                    .ok_or_else(|| format!("no input gives the size `{symbol}`"))?;
                let shape = self.one("Shape", "shape", &[&input], Vec::new());
                let at = self.ints(&[axis as i64]);
                self.one("Gather", symbol, &[&shape, &at], vec![int("axis", 0)])
            }
        };
        self.cache.insert(key, name.clone());
        Ok(name)
    }

    /// Sizes as one vector.
    pub(super) fn sizes(&mut self, exprs: &[Expr]) -> Result<String, String> {
        if let Some(numbers) = exprs.iter().map(Expr::as_number).collect::<Option<Vec<i64>>>() {
            return Ok(self.ints(&numbers));
        }
        let parts = exprs.iter().map(|e| self.size(e)).collect::<Result<Vec<_>, _>>()?;
        if let [one] = parts.as_slice() {
            return Ok(one.clone());
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Ok(self.one("Concat", "sizes", &parts, vec![int("axis", 0)]))
    }

    pub(super) fn dims(&mut self, dims: &[Dim]) -> Result<String, String> {
        self.sizes(&dims.iter().map(Expr::from).collect::<Vec<_>>())
    }

    /// Another shape.  At most one size may be left open, which keeps files short.
    pub(super) fn reshape(&mut self, path: &str, x: &str, shape: &[Dim]) -> Result<String, String> {
        let open = shape.iter().filter(|d| d.fixed().is_none()).count();
        let target = if open == 1 && !shape.contains(&Dim::Fixed(0)) {
            let numbers: Vec<i64> = shape.iter().map(|d| d.fixed().map_or(-1, |n| n as i64)).collect();
            self.ints(&numbers)
        } else {
            self.dims(shape)?
        };
        let attributes = if shape.contains(&Dim::Fixed(0)) { vec![int("allowzero", 1)] } else { Vec::new() };
        Ok(self.one("Reshape", path, &[x, &target], attributes))
    }

    pub(super) fn cast(&mut self, path: &str, x: &str, kind: ElementKind) -> String {
        self.one("Cast", path, &[x], vec![int("to", super::number(kind).into())])
    }
}

pub(super) fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.into(), kind: attribute_kind::INT, i: value, ..Attribute::default() }
}

pub(super) fn float(name: &str, value: f64) -> Attribute {
    Attribute { name: name.into(), kind: attribute_kind::FLOAT, f: value as f32, ..Attribute::default() }
}

pub(super) fn ints(name: &str, values: &[usize]) -> Attribute {
    let ints = values.iter().map(|&n| n as i64).collect();
    Attribute { name: name.into(), kind: attribute_kind::INTS, ints, ..Attribute::default() }
}

pub(super) fn texts(name: &str, values: &[&str]) -> Attribute {
    let strings = values.iter().map(|s| Bytes::copy_from_slice(s.as_bytes())).collect();
    Attribute { name: name.into(), kind: attribute_kind::STRINGS, strings, ..Attribute::default() }
}

pub(super) fn text(name: &str, value: &str) -> Attribute {
    let s = Bytes::copy_from_slice(value.as_bytes());
    Attribute { name: name.into(), kind: attribute_kind::STRING, s, ..Attribute::default() }
}
