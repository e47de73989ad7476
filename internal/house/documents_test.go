package house

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/agent"
	"github.com/aditdev/adit/internal/cli"
	"github.com/aditdev/adit/internal/command"
)

// paths in backquotes, as `handlers/tunnel.go` or `internal/seal`.
var namedPath = regexp.MustCompile("`((?:\\.ci|cmd|docs|e2e|handlers|internal|sql|static|tunnelhub)/[\\w./-]*|\\w+\\.go|Makefile|Dockerfile|fly\\.toml)`")

// links of Markdown to files of the tree.
var link = regexp.MustCompile(`\]\(([\w./-]+\.md)\)`)

// links to a heading, of the same page or of another, and headings.
var (
	deepLink = regexp.MustCompile(`\]\(([\w./-]+\.md)?#([\w-]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.*)$`)
	noAnchor = regexp.MustCompile(`[^\w -]`)
	fenced   = regexp.MustCompile("(?ms)^ *```.*?^ *```")
)

// documents reads every page that people are given.
func documents(t *testing.T) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(root + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, path := range append(paths, root+"/README.md", root+"/ARCHITECTURE.md", root+"/CONTRIBUTING.md", root+"/CHANGELOG.md") {
		if all[path], err = os.ReadFile(path); err != nil {
			t.Error(err)
		}
	}
	return all
}

func TestDocumentsNameWhatExists(t *testing.T) {
	for path, text := range documents(t) {
		for _, m := range namedPath.FindAllSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, string(m[1]))); err != nil {
				t.Errorf("%s names %s, which is not there", filepath.Base(path), m[1])
			}
		}
		for _, m := range link.FindAllSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), string(m[1]))); err != nil {
				t.Errorf("%s links to %s, which is not there", filepath.Base(path), m[1])
			}
		}
	}
}

// A link to a heading that is there twice leads to the first one: it once led from the commands of a hook to those of a shell.
func TestLinksLeadToOneHeading(t *testing.T) {
	all := documents(t)
	for path, text := range all {
		for _, m := range deepLink.FindAllSubmatch(text, -1) {
			target := path
			if len(m[1]) > 0 {
				target = filepath.Join(filepath.Dir(path), string(m[1]))
			}
			if n := anchors(all[target])[string(m[2])]; n != 1 {
				t.Errorf("%s links to #%s of %s, where %d headings are called so", filepath.Base(path), m[2], filepath.Base(target), n)
			}
		}
	}
}

// anchors counts the headings of a page by what links call them.
func anchors(text []byte) map[string]int {
	count := map[string]int{}
	for _, m := range heading.FindAllSubmatch(fenced.ReplaceAll(text, nil), -1) {
		name := noAnchor.ReplaceAllString(strings.ToLower(string(m[1])), "")
		count[strings.ReplaceAll(name, " ", "-")]++
	}
	return count
}

// commands of adit in backquotes, or as a line of an example.
var (
	namedCommand = regexp.MustCompile("`adit ([a-z][^`\n]*)`")
	shownCommand = regexp.MustCompile(`(?m)^\s*(?:\$ )?adit ([a-z].*)$`)
	namedFlag    = regexp.MustCompile(`(?:^|[\s\[|])(--[a-z][a-z-]*)`)
)

// What pages and messages tell people to type exists: the command, and in its help each flag.
func TestCommandsThatAreNamedExist(t *testing.T) {
	texts := documents(t)
	for path, source := range sources(t) {
		if !strings.HasSuffix(path, "_test.go") {
			texts[path] = source
		}
	}
	count := 0
	for path, text := range texts {
		named := namedCommand.FindAllSubmatch(text, -1)
		if filepath.Ext(path) == ".md" {
			named = append(named, shownCommand.FindAllSubmatch(text, -1)...)
		}
		for _, m := range named {
			count++
			if wrong := wrongCommand(string(m[1])); wrong != "" {
				t.Errorf("%s names `adit %s`: %s", path, m[1], wrong)
			}
		}
	}
	if count < 50 {
		t.Errorf("only %d commands were found", count)
	}
	for _, wrong := range []string{"shel kitchen", "shell --rescue", "agent statuss", "agent status --jason", "hook endpint", "hook listen --forwrd x", "ssh --x kitchen -- ls --all"} {
		if wrongCommand(wrong) == "" {
			t.Errorf("`adit %s` passes", wrong)
		}
	}
}

// wrongCommand says what of a line behind `adit` does not exist; "" where all does.
func wrongCommand(line string) string {
	line, _, _ = strings.Cut(line, " -- ") // what follows is typed on a device
	name, rest, _ := strings.Cut(line, " ")
	table := append(cli.Commands(), command.Command{Name: "version"})
	switch name {
	case "agent":
		if name, rest, _ = strings.Cut(rest, " "); name == "" {
			return ""
		}
		table = agent.Commands()
	case "hook":
		if name, rest, _ = strings.Cut(rest, " "); name == "" || strings.HasPrefix(name, "-") {
			return ""
		}
		table = cli.HookCommands()
	case "tunnel", "enroll": // begin what docs/protocol.md has signed
		if strings.HasPrefix(rest, "v1 ") {
			return ""
		}
	}
	at := slices.IndexFunc(table, func(c command.Command) bool { return c.Name == name })
	if at < 0 {
		return "there is no such command"
	}
	for _, m := range namedFlag.FindAllStringSubmatch(rest, -1) {
		if m[1] != "--help" && !slices.ContainsFunc(namedFlag.FindAllStringSubmatch(table[at].Usage, -1),
			func(has []string) bool { return has[1] == m[1] }) {
			return "its help knows no " + m[1]
		}
	}
	return ""
}

// Each direct dependency has a line in ARCHITECTURE.md that says why.
func TestEveryDependencyHasItsReason(t *testing.T) {
	architecture, err := os.ReadFile(root + "/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	direct := 0
	for lines := bufio.NewScanner(bytes.NewReader(mod)); lines.Scan(); {
		fields := strings.Fields(strings.TrimPrefix(lines.Text(), "require "))
		if len(fields) != 2 || !strings.HasPrefix(fields[1], "v") || !strings.Contains(fields[0], ".") {
			continue // indirect ones have a comment behind them
		}
		direct++
		if !bytes.Contains(architecture, []byte("`"+fields[0]+"`")) {
			t.Errorf("ARCHITECTURE.md does not say why %s is needed", fields[0])
		}
	}
	if direct == 0 {
		t.Error("go.mod calls every dependency indirect: run go mod tidy")
	}
}
