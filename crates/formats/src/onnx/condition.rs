//! `If`: the graph that runs takes its place, where that is known; else both do, and a choice between what they make.

use headstart_graph::{Dim, ElementKind, Op, Shape};

use super::node::Node;
use super::proto;
use super::read::{File, Uses, check_operators};
use super::reader::Val;
use super::{lower, order};
use crate::FormatError;

/// Conditional graphs inside each other.
const DEPTH_MAX: usize = 16;

impl File<'_> {
    pub(super) fn condition(
        &mut self,
        node: &proto::Node,
        uses: &Uses,
        depth: usize,
    ) -> Result<(), FormatError> {
        let n = self.node(node, uses)?;
        if depth >= DEPTH_MAX {
            return Err(self.refusal(node, format!("graphs lie in graphs more than {DEPTH_MAX} deep")));
        }
        let known = match n.optional(0) {
            Some(Val::Known(known, _)) => known.bools().filter(|b| b.len() == 1).map(|b| b[0]),
            _ => None,
        };
        let vals = match known {
            Some(known) => self.branch(node, &n, known, uses, depth)?,
            None => self.both(node, &n, uses, depth)?,
        };
        self.bind(node, vals)
    }

    /// What one of its graphs makes.
    fn branch(
        &mut self,
        node: &proto::Node,
        n: &Node<'_>,
        holds: bool,
        uses: &Uses,
        depth: usize,
    ) -> Result<Vec<Val>, FormatError> {
        let branch = n.graph(if holds { "then_branch" } else { "else_branch" });
        let Some(branch) = branch else {
            return Err(self.refusal(node, "the graph that runs is missing".into()));
        };
        let order = order::needed(&branch.node, branch.output.iter().map(|o| o.name.as_str()))
            .map_err(|why| self.refusal(node, why))?;
        let nodes: Vec<proto::Node> = order.iter().map(|&i| branch.node[i].clone()).collect();
        check_operators(self.path(), &nodes)?;
        self.initialisers(&branch.initializer, uses)?;
        self.nodes(&nodes, &branch.output, uses, depth + 1)?;
        let made = branch.output.iter().map(|o| self.r.values.get(&o.name).cloned());
        let made = made.collect::<Option<Vec<_>>>();
        made.ok_or_else(|| self.refusal(node, "the graph that runs makes too little".into()))
    }

    /// What a condition that only a run knows chooses between: one number decides for a whole run, so both must make values of
    /// one shape.
    fn both(
        &mut self,
        node: &proto::Node,
        n: &Node<'_>,
        uses: &Uses,
        depth: usize,
    ) -> Result<Vec<Val>, FormatError> {
        let condition = n.input(0).map_err(|why| self.refusal(node, why))?;
        let is_single = self.r.dims(condition).iter().all(|d| *d == Dim::Fixed(1));
        if !is_single || matches!(condition, Val::Known(..)) {
            let why = format!("which of its graphs runs depends on a run; {}", lower::FIX);
            return Err(self.refusal(node, why));
        }
        let outer = self.journal.replace(Vec::new());
        let mut made = Vec::new();
        for holds in [true, false] {
            made.push(self.branch(node, n, holds, uses, depth)?);
            // Names of one graph are not the other's.
            while let Some((name, before)) = self.journal.as_mut().and_then(Vec::pop) {
                match before {
                    Some(val) => self.r.values.insert(name, val),
                    None => self.r.values.remove(&name),
                };
            }
        }
        self.journal = outer;
        self.choices(n, condition, &made).map_err(|why| self.refusal(node, why))
    }

    fn choices(&mut self, n: &Node<'_>, condition: &Val, made: &[Vec<Val>]) -> Result<Vec<Val>, String> {
        let r = &mut self.r;
        let truth = r.apply(&n.part("truth"), Op::Cast { to: ElementKind::Bool }, &[condition])?;
        let truth = r.apply(&n.part("condition"), Op::Reshape { shape: Vec::new() }, &[&truth])?;
        let [then, other] = made else { unreachable!("there are two graphs") };
        if then.len() != other.len() {
            return Err("its graphs do not make as many values".into());
        }
        let choice = |(i, (a, b)): (usize, (&Val, &Val))| {
            let (have, want) = (Shape(r.dims(a)), Shape(r.dims(b)));
            if have != want || r.kind(a) != r.kind(b) {
                return Err(format!(
                    "which of its graphs runs depends on a run, and one makes {have}, one {want}; {}",
                    lower::FIX
                ));
            }
            let path = if i == 0 { n.path.to_string() } else { n.part(&i.to_string()) };
            r.apply(&path, Op::Where, &[&truth, a, b])
        };
        then.iter().zip(other).enumerate().map(choice).collect()
    }
}
