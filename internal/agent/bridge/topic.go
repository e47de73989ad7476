package bridge

import (
	"fmt"
	"strings"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

// Topic is one topic line of a bridge, as mosquitto.conf(5) has it behind the word topic:
//
//	PATTERN [out|in|both] [QOS] [LOCAL-PREFIX [REMOTE-PREFIX]]
//
// "" stands for nothing. Prefixes are put before the pattern as they are, so they need their own slash.
type Topic struct {
	Line          string
	Pattern       string
	Out, In       bool
	QoS           byte
	Local, Remote string
}

const topicForm = `PATTERN [out|in|both] [QOS] [LOCAL-PREFIX [REMOTE-PREFIX]]`

// ParseTopic reads a line; the word topic before it may be there. Where it is wrong in a way that people copy from each other, the
// Error, of code Invalid, shows the line that was meant. notes are what is legal and probably not meant.
func ParseTopic(line string) (t Topic, notes []string, err error) {
	words := strings.Fields(line)
	if len(words) > 0 && words[0] == "topic" {
		words = words[1:]
	}
	t = Topic{Line: strings.Join(words, " "), Out: true}
	if len(words) == 0 {
		return t, nil, wire.Errorf(wire.Invalid, "A topic line is empty; it is %s.", topicForm)
	}
	t.Pattern = plain(words[0])
	if err := t.direction(words); err != nil {
		return t, nil, err
	}
	if err := t.prefixes(words); err != nil {
		return t, nil, err
	}
	return t, t.notes(), t.check()
}

// plain is a word without the mark for nothing.
func plain(word string) string {
	if word == `""` {
		return ""
	}
	return word
}

func (t *Topic) direction(words []string) error {
	if len(words) < 2 {
		return nil
	}
	switch words[1] {
	case "out":
	case "in":
		t.Out, t.In = false, true
	case "both":
		t.In = true
	default:
		rest := words[1:]
		if isQoS(rest[0]) {
			rest = rest[1:]
		}
		return wrongLine(words, fmt.Sprintf("%q is no direction", words[1]), "out", qosOf(words[1]), rest)
	}
	return nil
}

func (t *Topic) prefixes(words []string) error {
	if len(words) < 3 {
		return nil
	}
	if !isQoS(words[2]) {
		return wrongLine(words, fmt.Sprintf("%s stands where the QoS must be; Mosquitto reads it as 0 and the prefixes one place off, without a word", words[2]), words[1], "1", words[2:])
	}
	t.QoS = words[2][0] - '0'
	if len(words) > 3 {
		t.Local = plain(words[3])
	}
	if len(words) > 4 {
		t.Remote = plain(words[4])
	}
	if len(words) > 5 {
		return wire.Errorf(wire.Invalid, "topic %s: nothing may follow the remote prefix, %q does. The form is %s.", t.Line, words[5], topicForm)
	}
	return nil
}

func isQoS(word string) bool { return word == "0" || word == "1" || word == "2" }

func qosOf(word string) string {
	if isQoS(word) {
		return word
	}
	return "1"
}

// wrongLine shows what was meant: with the QoS, and prefixes that end in a slash.
func wrongLine(words []string, why, direction, qos string, prefixes []string) error {
	meant := append([]string{words[0], direction, qos}, prefixes[:min(len(prefixes), 2)]...)
	for i, word := range meant[3:] {
		if words[0] != `""` && word != `""` && !strings.HasSuffix(word, "/") {
			meant[3+i] = word + "/"
		}
	}
	return wire.Errorf(wire.Invalid, "topic %s: %s. You probably mean: topic %s", strings.Join(words, " "), why, strings.Join(meant, " "))
}

func (t Topic) check() error {
	switch {
	case t.Pattern == "" && (t.Local == "" || t.Remote == ""):
		return wire.Errorf(wire.Invalid, `topic %s: without a pattern both prefixes are needed: topic "" both 1 LOCAL-TOPIC REMOTE-TOPIC.`, t.Line)
	case strings.ContainsAny(t.Local+t.Remote, "+#"):
		return wire.Errorf(wire.Invalid, "topic %s: a prefix cannot have + or #; they belong into the pattern.", t.Line)
	case !mqtt.ValidFilter(t.LocalFilter()), !mqtt.ValidFilter(t.RemoteFilter()):
		return wire.Errorf(wire.Invalid, "topic %s: %s and %s must both be Topic Filters: + and # stand for whole levels, # for the last.", t.Line, t.LocalFilter(), t.RemoteFilter())
	}
	return nil
}

func (t Topic) notes() (notes []string) {
	for _, prefix := range [...]string{t.Local, t.Remote} {
		if prefix != "" && t.Pattern != "" && !strings.HasSuffix(prefix, "/") && !strings.HasPrefix(t.Pattern, "/") {
			notes = append(notes, fmt.Sprintf("topic %s: the prefix %s does not end in /, so topics become %s%s. %s/ is probably meant.", t.Line, prefix, prefix, t.Pattern, prefix))
		}
	}
	return notes
}

// LocalFilter is what is subscribed to at the local broker for out, RemoteFilter at the hub for in.
func (t Topic) LocalFilter() string  { return t.Local + t.Pattern }
func (t Topic) RemoteFilter() string { return t.Remote + t.Pattern }

// toRemote maps a local TopicName, toLocal one of the hub; ok is false where t has no business with it.
func (t Topic) toRemote(name string) (string, bool) {
	return t.Remote + strings.TrimPrefix(name, t.Local), t.Out && mqtt.Match(t.LocalFilter(), name)
}

func (t Topic) toLocal(name string) (string, bool) {
	return t.Local + strings.TrimPrefix(name, t.Remote), t.In && mqtt.Match(t.RemoteFilter(), name)
}

// ParseTopics reads all lines of a bridge and refuses those that make a loop: what comes in by one would go out by another.
func ParseTopics(lines []string) (topics []Topic, notes []string, err error) {
	for _, line := range lines {
		t, more, err := ParseTopic(line)
		if err != nil {
			return nil, notes, err
		}
		topics, notes = append(topics, t), append(notes, more...)
	}
	for i, in := range topics {
		for j, out := range topics {
			if i == j || !in.In || !out.Out || !mqtt.Overlap(in.LocalFilter(), out.LocalFilter()) {
				continue
			}
			return topics, notes, wire.Errorf(wire.Invalid, "topic %s and topic %s make a loop: what comes in as %s goes out again as %s. "+
				"Give one of them a prefix of its own, or write one line with both.", in.Line, out.Line, in.LocalFilter(), out.LocalFilter())
		}
	}
	for i, a := range topics {
		for _, b := range topics[:i] {
			if a.Out && b.Out && mqtt.Overlap(a.LocalFilter(), b.LocalFilter()) || a.In && b.In && mqtt.Overlap(a.RemoteFilter(), b.RemoteFilter()) {
				notes = append(notes, fmt.Sprintf("topic %s and topic %s overlap: some brokers send such messages twice; the first line decides where they go.", b.Line, a.Line))
			}
		}
	}
	return topics, notes, nil
}
