package runner

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of a pattern. With them a match costs at most some four million steps.
const (
	maxPattern = 256  // bytes of text
	maxSteps   = 4096 // parts of the automaton, counted repetitions written out
	maxRepeat  = 1000 // as in RE2
	maxNesting = 16   // groups in groups
)

// Pattern is a regular expression that a whole value must match. It is the part of RE2's syntax that parameters need: characters,
// `.`, classes as [a-z0-9_-] and [^/], \d \w \s \D \W \S, groups, | and the repetitions ? * + {n} {n,} {n,m}. It is not package
// regexp, which makes `adit` larger by 0.1 MB; a test compares the two. Matching takes time in proportion to the value.
type Pattern struct {
	code []state
	dash bool // a value may begin with "-", since the pattern does
}

// state is one of the automaton: a set of characters that leads to next, or, where set is nil, a fork to next and other.
type state struct {
	set         *charset
	next, other int
}

// charset is ranges of characters, or all others.
type charset struct {
	ranges []charRange
	not    bool
}

type charRange struct{ from, to rune }

func (c *charset) has(r rune) bool {
	return slices.ContainsFunc(c.ranges, func(g charRange) bool { return g.from <= r && r <= g.to }) != c.not
}

const accept = -1 // the state behind the last

// ParsePattern reads a pattern. Its error says what is wrong and where.
func ParsePattern(text string) (*Pattern, error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("a pattern has at most %d bytes", maxPattern)
	}
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("a pattern is UTF-8")
	}
	p := &patternParser{text: text, rest: text}
	n, err := p.alternatives(0)
	if err == nil && p.rest != "" {
		err = p.fail("a ) closes no group")
	}
	if err != nil {
		return nil, err
	}
	c := compiler{}
	first := c.add(n, accept)
	if c.steps > maxSteps {
		return nil, fmt.Errorf("its repetitions make it too large")
	}
	// The first state is the last of the code, so that a match knows where to begin.
	return &Pattern{code: append(c.code, state{next: first, other: first}), dash: n.dash()}, nil
}

// node is a part of a pattern: characters, or a sequence or choice of parts, repeated.
type node struct {
	set    *charset
	parts  []node
	choice bool
	least  int
	most   int // -1 for no bound
}

func one(n node) node { n.least, n.most = 1, 1; return n }

// dash reports whether n asks for a "-" at its beginning, as that character, and lets none in by the way.
func (n node) dash() bool {
	switch {
	case n.set != nil:
		return !n.set.not && len(n.set.ranges) == 1 && n.set.ranges[0] == charRange{'-', '-'}
	case !n.choice:
		return len(n.parts) > 0 && n.parts[0].dash()
	}
	asked := false
	for _, part := range n.parts {
		if !part.dash() && part.mayBegin('-') {
			return false
		}
		asked = asked || part.dash()
	}
	return asked
}

// mayBegin reports whether n matches something that begins with r. Something empty counts as if it did.
func (n node) mayBegin(r rune) bool {
	switch {
	case n.least == 0:
		return true
	case n.set != nil:
		return n.set.has(r)
	case n.choice:
		return slices.ContainsFunc(n.parts, func(part node) bool { return part.mayBegin(r) })
	}
	return len(n.parts) == 0 || n.parts[0].mayBegin(r)
}

type patternParser struct{ text, rest string }

func (p *patternParser) fail(format string, args ...any) error {
	return fmt.Errorf("at character %d: %s", utf8.RuneCountInString(p.text[:len(p.text)-len(p.rest)])+1, fmt.Sprintf(format, args...))
}

func (p *patternParser) take(word string) bool {
	rest, ok := strings.CutPrefix(p.rest, word)
	p.rest = rest
	return ok
}

func (p *patternParser) character() rune {
	r, size := utf8.DecodeRuneInString(p.rest)
	p.rest = p.rest[size:]
	return r
}

func (p *patternParser) alternatives(depth int) (node, error) {
	if depth > maxNesting {
		return node{}, p.fail("the groups are nested too deep")
	}
	all := one(node{choice: true})
	for {
		sequence := one(node{})
		for p.rest != "" && p.rest[0] != '|' && p.rest[0] != ')' {
			n, err := p.atom(depth)
			if err == nil {
				err = p.repetition(&n)
			}
			if err != nil {
				return node{}, err
			}
			sequence.parts = append(sequence.parts, n)
		}
		all.parts = append(all.parts, sequence)
		if !p.take("|") {
			return all, nil
		}
	}
}

// classes are those that RE2 has by Perl's names, in ASCII.
var classes = map[byte]charset{
	'd': {ranges: []charRange{{'0', '9'}}},
	'w': {ranges: []charRange{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}},
	's': {ranges: []charRange{{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}}},
}

func (p *patternParser) atom(depth int) (node, error) {
	switch {
	case p.take("("):
		if strings.HasPrefix(p.rest, "?") && !p.take("?:") {
			return node{}, p.fail("groups are ( ) or (?: ); flags and names are not known here")
		}
		n, err := p.alternatives(depth + 1)
		if err == nil && !p.take(")") {
			err = p.fail("a group has no )")
		}
		return n, err
	case p.take("["):
		set, err := p.class()
		return one(node{set: set}), err
	case p.take("."):
		return one(node{set: &charset{ranges: []charRange{{'\n', '\n'}}, not: true}}), nil
	case strings.ContainsAny(p.rest[:1], "^$"):
		return node{}, p.fail("the whole value must match already: leave %c out, or write \\%c for the character", p.rest[0], p.rest[0])
	case strings.ContainsAny(p.rest[:1], "*+?{"):
		return node{}, p.fail("%c repeats nothing; the character is written \\%c", p.rest[0], p.rest[0])
	case p.take(`\`):
		set, err := p.escape()
		return one(node{set: &set}), err
	}
	r := p.character()
	return one(node{set: &charset{ranges: []charRange{{r, r}}}}), nil
}

// escape is what a backslash and what follows it stand for.
func (p *patternParser) escape() (charset, error) {
	if p.rest == "" {
		return charset{}, p.fail("a backslash at the end means nothing")
	}
	c := p.rest[0]
	if set, ok := classes[c|0x20]; ok {
		set.not = c&0x20 == 0
		p.rest = p.rest[1:]
		return set, nil
	}
	if i := strings.IndexByte("tnrfv", c); i >= 0 {
		p.rest = p.rest[1:]
		r := rune("\t\n\r\f\v"[i])
		return charset{ranges: []charRange{{r, r}}}, nil
	}
	if c >= utf8.RuneSelf || c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' {
		return charset{}, p.fail(`\%c is not known here`, c)
	}
	r := p.character()
	return charset{ranges: []charRange{{r, r}}}, nil
}

// class is what stands behind a [.
func (p *patternParser) class() (*charset, error) {
	set := &charset{not: p.take("^")}
	for first := true; first || !strings.HasPrefix(p.rest, "]"); first = false {
		if p.rest == "" {
			return nil, p.fail("a class has no ]")
		}
		if strings.HasPrefix(p.rest, "[:") {
			return nil, p.fail("names of classes are not known here; write the characters")
		}
		from, whole, err := p.classCharacter()
		if err != nil {
			return nil, err
		}
		to := from
		if whole != nil {
			set.ranges = append(set.ranges, whole.ranges...)
			continue
		}
		// A - before the ] is itself.
		if strings.HasPrefix(p.rest, "-") && !strings.HasPrefix(p.rest, "-]") {
			p.rest = p.rest[1:]
			if to, whole, err = p.classCharacter(); err != nil {
				return nil, err
			}
			if whole != nil || to < from {
				return nil, p.fail("a range goes from a character to a later one")
			}
		} else if from == '-' && !first && !strings.HasPrefix(p.rest, "]") {
			return nil, p.fail("the character - stands first or last in a class, or as \\-")
		}
		set.ranges = append(set.ranges, charRange{from, to})
	}
	p.take("]")
	return set, nil
}

// classCharacter is one character of a class, or all of one as \d.
func (p *patternParser) classCharacter() (rune, *charset, error) {
	if p.rest == "" {
		return 0, nil, p.fail("a class has no ]")
	}
	if p.rest[0] != '\\' {
		return p.character(), nil, nil
	}
	p.take(`\`)
	set, err := p.escape()
	switch {
	case err != nil:
		return 0, nil, err
	case set.not:
		return 0, nil, p.fail("in a class stand \\d, \\w and \\s only; write the others out")
	case len(set.ranges) == 1 && set.ranges[0].from == set.ranges[0].to:
		return set.ranges[0].from, nil, nil
	}
	return 0, &set, nil
}

// repetition reads what stands behind an atom.
func (p *patternParser) repetition(n *node) error {
	switch {
	case p.take("?"):
		n.least, n.most = 0, 1
	case p.take("*"):
		n.least, n.most = 0, -1
	case p.take("+"):
		n.least, n.most = 1, -1
	case strings.HasPrefix(p.rest, "{"):
		if err := p.count(n); err != nil {
			return err
		}
	default:
		return nil
	}
	if p.rest != "" && strings.ContainsAny(p.rest[:1], "?*+{") {
		return p.fail("%c stands behind a repetition already", p.rest[0])
	}
	return nil
}

// count reads {n}, {n,} and {n,m}.
func (p *patternParser) count(n *node) error {
	inside, rest, ok := strings.Cut(p.rest[1:], "}")
	low, high, comma := strings.Cut(inside, ",")
	least, okLeast := smallNumber(low)
	most, okMost := least, true
	if comma && high != "" {
		most, okMost = smallNumber(high)
	}
	if !ok || !okLeast || !okMost || most < least || most > maxRepeat {
		return p.fail("a count is {n}, {n,} or {n,m}, at most %d; the character is written \\{", maxRepeat)
	}
	p.rest = rest
	n.least, n.most = least, most
	if comma && high == "" {
		n.most = -1
	}
	return nil
}

// smallNumber reads a number as RE2 has them in counts: without a sign and without zeros before it.
func smallNumber(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err == nil && strconv.FormatUint(n, 10) == s
}

// compiler writes the automaton from its end.
type compiler struct {
	code  []state
	steps int
}

// add writes n in front of the state next, and gives where n begins.
func (c *compiler) add(n node, next int) int {
	if n.most < 0 {
		loop := c.put(state{other: next}) // its way in is known only behind it
		c.code[loop].next = c.once(n, loop)
		next = loop
	}
	for i := n.least; i < n.most && c.steps <= maxSteps; i++ {
		next = c.put(state{next: c.once(n, next), other: next})
	}
	for i := 0; i < n.least && c.steps <= maxSteps; i++ {
		next = c.once(n, next)
	}
	return next
}

func (c *compiler) once(n node, next int) int {
	c.steps++
	switch {
	case n.set != nil:
		return c.put(state{set: n.set, next: next})
	case n.choice:
		first := c.add(n.parts[0], next)
		for _, part := range n.parts[1:] {
			first = c.put(state{next: c.add(part, next), other: first})
		}
		return first
	}
	for _, part := range slices.Backward(n.parts) {
		next = c.add(part, next)
	}
	return next
}

func (c *compiler) put(s state) int {
	c.code = append(c.code, s)
	return len(c.code) - 1
}

// Match reports whether the whole of value matches.
func (p *Pattern) Match(value string) bool {
	now := p.reach(nil, make([]bool, len(p.code)), len(p.code)-1)
	for _, r := range value {
		var then []int
		seen := make([]bool, len(p.code))
		for _, i := range now {
			if i != accept && p.code[i].set.has(r) {
				then = p.reach(then, seen, p.code[i].next)
			}
		}
		if now = then; len(now) == 0 {
			return false
		}
	}
	return slices.Contains(now, accept)
}

// reach adds to list the states that i leads to without a character.
func (p *Pattern) reach(list []int, seen []bool, i int) []int {
	for stack := []int{i}; len(stack) > 0; {
		i, stack = stack[len(stack)-1], stack[:len(stack)-1]
		switch {
		case i == accept:
			list = append(list, accept)
		case seen[i]:
		case p.code[i].set != nil:
			seen[i] = true
			list = append(list, i)
		default:
			seen[i] = true
			stack = append(stack, p.code[i].other, p.code[i].next)
		}
	}
	return list
}
