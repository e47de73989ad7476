// Package house holds the rules of the tree that a compiler does not know: which way imports point, what must not be
// written, how long things may grow, what the agent's binary may weigh. Its tests are the rules.
package house
