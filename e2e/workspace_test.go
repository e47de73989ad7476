//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// The terminals' workspace in Chromium: each step goes on where the one before it ended.
func TestWorkspace(t *testing.T) {
	t.Parallel()
	l := newLaptop(t)
	link := l.demo()
	b := l.browser()
	b.open(link)
	b.wait("[data-testid=device-row-demo]", "")
	b.openShell(demoURL, "demo")
	for _, step := range []struct {
		name string
		run  func(*browser)
	}{
		{"tabs", tabsOfShells},
		{"splits", splits},
		{"other pages", otherPages},
		{"search", searchTerminal},
		{"copy", copyFromTerminal},
		{"paste", pasteIntoTerminal},
		{"OSC 52", programsClipboard},
		{"themes", themes},
		{"font size", fontSizes},
		{"phone", phone},
		{"reload", reloadWorkspace},
	} {
		t.Run(step.name, func(t *testing.T) { step.run(b.as(t)) })
		b.clean()
	}
}

const (
	inTerminal = ".xterm-helper-textarea:focus"
	openShown  = "[data-testid=terminal][data-link=open]:visible"
	question   = "[data-testid=terminal-question]"
)

// here is the id of the shell that has the focus.
func (b *browser) here() (shell string) {
	b.t.Helper()
	b.wait(inTerminal, "")
	b.evaluate("document.activeElement.closest('[data-testid=terminal]').dataset.shell", &shell)
	return shell
}

// turnsTo waits until a shell has the focus.
func (b *browser) turnsTo(shell string) {
	b.t.Helper()
	b.becomes("document.activeElement.closest('[data-testid=terminal]')?.dataset.shell", shell)
}

// answersTo runs a line whose output no echo of the line contains, and waits for it.
func (b *browser) answersTo(mark string) {
	b.t.Helper()
	b.run("echo " + mark + "-$((40+2))")
	b.sees(mark + "-42")
}

func (b *browser) shownTerminals(n int) {
	b.t.Helper()
	eventually(b.t, patience, fmt.Sprintf("%d terminals shown", n), func() error {
		if got := b.count(openShown); got != n {
			return fmt.Errorf("%d are", got)
		}
		return nil
	})
}

func tabsOfShells(b *browser) {
	first := b.here()
	b.answersTo("first")
	b.press("Control+Shift+T")
	b.wait("dialog [role=option]", "")
	b.write("demo")
	b.press("Enter")
	b.becomes("document.querySelectorAll('[role=tab]').length", "2")
	b.shownTerminals(1)
	second := b.here()
	b.answersTo("second")
	if first == second {
		b.t.Errorf("both tabs show the shell %s", first)
	}
	b.press("Alt+Shift+ArrowLeft")
	b.turnsTo(first)
	b.answersTo("first-again")
	b.press("Alt+Shift+ArrowRight")
	b.turnsTo(second)
}

// splits makes three panes of the second tab, and closes one by mistake.
func splits(b *browser) {
	whole := b.here()
	b.press("Control+Shift+D")
	b.shownTerminals(2)
	beside := b.here()
	b.press("Control+Shift+E")
	b.shownTerminals(3)
	b.answersTo("below")
	b.inspectBoth("shells-splits")
	b.press("Control+Shift+ArrowLeft")
	b.turnsTo(whole)
	b.press("Control+Shift+ArrowRight")
	b.turnsTo(beside)
	b.evaluate("document.querySelector('[role=separator][aria-orientation=vertical]').focus()", nil)
	b.press("ArrowRight")
	b.becomes("document.querySelector('[role=separator][aria-orientation=vertical]').ariaValueNow", "55")
	b.click(fmt.Sprintf("[data-shell='%s']", beside))
	b.sizeAgrees()

	b.press("Control+Shift+W")
	b.shownTerminals(2)
	b.click("[data-testid=toast]:has-text('ends') >> text=Undo")
	b.becomes("document.querySelectorAll('[role=tab]').length", "3")
	b.turnsTo(beside)
	b.answersTo("undone")
}

// otherPages looks at another page: the terminals stay connected behind it.
func otherPages(b *browser) {
	shell, sockets := b.here(), b.output().Attached
	b.click("nav a[title=Devices]")
	b.wait("[data-testid=device-row-demo]", "")
	b.click("[data-testid=nav-shells]")
	b.turnsTo(shell)
	b.answersTo("still-here")
	if now := b.output().Attached; now != sockets {
		b.t.Errorf("%d sockets were opened to look at another page", now-sockets)
	}
}

func searchTerminal(b *browser) {
	b.run("clear; for n in 1 2 3; do echo needle-$n; done; echo end-of-hay-$((40+2))")
	b.sees("end-of-hay-42")
	b.press("Control+Shift+F")
	b.wait("[data-testid=terminal-search] input:focus", "")
	b.write("needle-")
	b.wait("[data-testid=search-count]", "3 of 3")
	b.press("Enter")
	b.wait("[data-testid=search-count]", "2 of 3")
	b.press("Shift+Enter")
	b.wait("[data-testid=search-count]", "3 of 3")
	b.inspectBoth("shells-search")
	b.write("thread")
	b.wait("[data-testid=search-count]", "none")
	b.press("Escape")
	b.gone("[data-testid=terminal-search]")
	b.wait(inTerminal, "")
}

// selectWord prints a word on the first line and selects it.
func (b *browser) selectWord(mark string) {
	b.t.Helper()
	b.run("clear; echo " + mark + "-$((40+2))")
	b.drawn(mark + "-42")
	b.do("click", ask{"on": openShown, "at": ask{"x": 30, "y": 16}, "times": 2}, nil)
}

func (b *browser) setClipboard(text string) {
	b.t.Helper()
	b.evaluate(fmt.Sprintf("navigator.clipboard.writeText(%q)", text), nil)
}

func (b *browser) clipboardBecomes(want string) {
	b.t.Helper()
	eventually(b.t, patience, fmt.Sprintf("%q on the clipboard", want), func() error {
		var got string
		if b.evaluate("navigator.clipboard.readText()", &got); got != want {
			return fmt.Errorf("it holds %q", got)
		}
		return nil
	})
}

func copyFromTerminal(b *browser) {
	b.setClipboard("before")
	b.selectWord("by-its-own-key")
	b.press("Control+Shift+C")
	b.clipboardBecomes("by-its-own-key-42")
	b.selectWord("as-it-was-selected")
	b.press("Control+C")
	b.clipboardBecomes("as-it-was-selected-42")
	b.run("sh -c 'echo begun-$((40+2)); exec sleep 1000'")
	b.sees("begun-42")
	b.press("Control+C") // nothing is selected any more: this goes to the device
	b.sees("^C")
	b.answersTo("interrupted")
}

const twoLines = "echo one-$((0+1))\necho two-$((1+1))\n"

// pasteIntoTerminal pastes lines where the shell tells pasted from typed, and where it would run each.
func pasteIntoTerminal(b *browser) {
	b.setClipboard("echo single-$((40+2))")
	b.press("Control+Shift+V")
	b.sees("echo single-$((40+2))")
	b.press("Enter")
	b.sees("single-42")

	for _, paste := range []struct{ text, last, ran, then string }{
		{twoLines, "echo two-$((1+1))", "\none-1\r", "dropped"},
		{"echo trap\x1b[201~\necho three-$((1+2))\necho four-$((2+2))\n", "echo four-$((2+2))", "\nthree-3\r", "dropped-too"},
	} {
		b.run("clear")
		b.setClipboard(paste.text)
		b.press("Control+Shift+V")
		b.sees(paste.last)
		if out := b.output().Text; strings.Contains(out, paste.ran) || b.count(question) > 0 {
			b.t.Errorf("lines pasted into a shell that holds them: asked %d times, output %q", b.count(question), out)
		}
		b.press("Control+C")
		b.answersTo(paste.then)
	}

	b.run("bind 'set enable-bracketed-paste off'")
	b.answersTo("unbracketed")
	b.setClipboard(twoLines)
	b.press("Control+Shift+V")
	b.wait(question, "Paste 2 lines?")
	b.inspectBoth("shells-question")
	b.click(question + " >> text=Do not paste")
	b.gone(question)
	b.answersTo("refused")
	if out := b.output().Text; strings.Contains(out, "\none-1\r") {
		b.t.Errorf("refused lines ran: %q", out)
	}
	b.press("Control+Shift+V")
	b.wait(question, "Paste 2 lines?")
	b.click(question + " button:text-is('Paste')")
	b.sees("one-1\r\n")
	b.sees("two-2\r\n")
}

// programsClipboard lets a program write to the clipboard after a person allowed it, and never read.
func programsClipboard(b *browser) {
	puts := func(text string) string { return `printf '\033]52;c;%s\a' $(printf ` + text + ` | base64)` }
	b.setClipboard("mine")
	b.run(puts("refused"))
	b.wait(question, "A program on demo wants to put 7 characters on your clipboard.")
	b.inspectBoth("shells-osc52")
	b.click(question + " >> text=Refuse")
	b.gone(question)
	b.clipboardBecomes("mine")
	b.wait(inTerminal, "")
	b.run(puts("allowed"))
	b.wait(question, "7 characters")
	b.click(question + " >> text=Allow this device")
	b.clipboardBecomes("allowed")
	b.wait("[data-testid=toast]", "demo copied 7 characters.")
	b.wait(inTerminal, "")
	b.run(puts("unasked"))
	b.clipboardBecomes("unasked")
	b.run(`printf '\033]52;c;?\a'; read -rs -t 1 -n 1 got; echo "got=[$got]"`)
	b.sees("got=[]")
}

// themes goes round all of them by the menu.
func themes(b *browser) {
	for _, theme := range []struct{ label, name string }{
		{"as the page", "paper"}, {"Graphite", "graphite"}, {"Paper", "paper"}, {"high contrast", "contrast"},
	} {
		b.wait("[data-testid=terminal][data-theme="+theme.name+"]:visible", "")
		b.inspect("shells-theme-" + theme.name)
		b.click("[data-testid=terminal-menu]")
		b.wait("#terminal-menu", "Theme: "+theme.label)
		if theme.name == "contrast" {
			b.inspectBoth("shells-menu")
		}
		b.click("[role=menuitem]:has-text('Theme: " + theme.label + "')")
	}
	b.wait("[data-testid=terminal][data-theme=paper]:visible", "")
	b.click(openShown)
}

func fontSizes(b *browser) {
	normal := b.text("[data-testid=terminal-size]")
	b.press("Control+Equal")
	b.press("Control+Equal")
	b.becomes(fmt.Sprintf("document.querySelector('[data-testid=terminal-size]').textContent !== %q", normal), "true")
	b.sizeAgrees()
	b.press("Control+Minus")
	b.press("Control+0")
	b.becomes("document.querySelector('[data-testid=terminal-size]').textContent", normal)
	b.sizeAgrees()
}

// selectedTabShown is whether the strip of tabs, which may be narrower than they are, shows all of the selected one.
const selectedTabShown = `((tab) => {
	const [one, strip] = [tab, tab.closest('[role=tablist]')].map((element) => element.getBoundingClientRect());
	return one.left >= strip.left - 1 && one.right <= strip.right + 1;
})(document.querySelector('[role=tab][aria-selected=true]'))`

// phone works by fingers in a narrow window: with the bar of keys that soft keyboards lack, and the compose bar.
func phone(b *browser) {
	wide := b.text("[data-testid=terminal-size]")
	b.do("touch", ask{"on": true}, nil)
	b.do("size", ask{"width": 390, "height": 844}, nil)
	b.wait("[data-testid=key-bar]", "")
	b.becomes(selectedTabShown, "true")
	tap := func(label string) {
		b.do("tap", ask{"on": "[data-testid=key-bar] button:text-is('" + label + "')"}, nil)
	}
	b.run("cat -v")
	b.sees("cat -v\r\n")
	tap("esc")
	b.sees("^[")
	tap("↑")
	b.sees("^[[A")
	tap("ctrl")
	b.write("a")
	b.sees("^A")
	tap("alt")
	b.write("x")
	b.sees("^[x")
	tap("ctrl")
	b.write("c")
	b.wait(inTerminal, "")
	b.answersTo("after-the-keys")

	b.do("tap", ask{"on": "[data-testid=key-bar] [aria-label=Compose]"}, nil)
	b.wait("[data-testid=compose-bar] textarea:focus", "")
	b.write("echo composed-$((40+2))")
	b.inspectBoth("shells-compose")
	b.do("size", ask{"width": 390, "height": 844}, nil)
	b.do("tap", ask{"on": "[data-testid=compose-bar] button:text-is('Send')"}, nil)
	b.sees("composed-42")
	b.press("Escape")
	b.gone("[data-testid=compose-bar]")
	b.wait(inTerminal, "")
	b.setClipboard("echo tapped-$((40+2))")
	b.do("tap", ask{"on": "[data-testid=key-bar] [aria-label=Paste]"}, nil)
	b.sees("echo tapped-$((40+2))")
	tap("ctrl")
	b.write("c")
	var small int
	b.evaluate("[...document.querySelectorAll('[data-testid=key-bar] button')].filter((key) => key.offsetWidth < 44 || key.offsetHeight < 44).length", &small)
	if small > 0 {
		b.t.Errorf("%d keys of the bar are smaller than a finger", small)
	}
	b.do("touch", ask{"on": false}, nil)
	b.do("size", ask{"width": 1280, "height": 800}, nil)
	b.becomes("document.querySelector('[data-testid=terminal-size]').textContent", wide) // and the letters are as before
}

// reloadWorkspace loads the page anew: the same tabs with the same shells, and nothing of their past happens again.
func reloadWorkspace(b *browser) {
	const shells = "[...document.querySelectorAll('[data-testid=terminal]')].map((terminal) => terminal.dataset.shell).join()"
	var before string
	b.evaluate(shells, &before)
	b.setClipboard("mine again")
	b.do("reload", nil, nil)
	b.wait(openShown, "")
	b.becomes(shells, before)
	b.becomes("document.querySelectorAll('[role=tab]').length", "3")
	b.click(openShown)
	b.answersTo("reloaded")
	if n := b.count(question); n > 0 {
		b.t.Errorf("%d questions about what programs did before the reload", n)
	}
	b.clipboardBecomes("mine again")
}
