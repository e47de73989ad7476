//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
)

const (
	brokerAddress = "127.0.0.1:1883" // ADIT_MQTT_ADDR of the hub, on its machine
	consoleURL    = hubURL + "/app/mqtt"
	// consoleAim is how long the console may take to answer a key while 5,000 messages pass each second; where that is not enough for
	// a slow machine, consoleTimes what it takes there while none pass.
	consoleAim   = 200 * time.Millisecond
	consoleTimes = 20
)

// A console is the MQTT page in a browser, and a credential for real clients beside it.
type console struct {
	*rig
	*browser
	t                  testing.TB
	username, password string
}

// The MQTT console in Chromium, against real Mosquitto clients: each step goes on where the one before it ended.
func TestMQTTConsole(t *testing.T) {
	r := newRig(t, "nginx", "ADIT_MQTT_ADDR="+brokerAddress)
	c := &console{rig: r, browser: r.browser(), t: t}
	var made struct {
		Credential struct{ Username string }
		Password   string
	}
	if err := r.call("POST", "/api/v1/mqtt/credentials", ask{"kind": "user"}, &made); err != nil {
		t.Fatal(err)
	}
	c.username, c.password = made.Credential.Username, made.Password
	c.open(hubURL + "/app/login")
	c.fill("#email", ownerEmail)
	c.fill("#password", ownerPassword)
	c.click("[data-testid=login-form] [type=submit]")
	c.wait("[data-testid=nav-mqtt]", "")
	for _, step := range []struct {
		name string
		run  func(*console)
	}{
		{"empty", (*console).empty},
		{"live messages", (*console).messages},
		{"keyboard alone", (*console).keyboard},
		{"publish", (*console).publishes},
		{"request", (*console).requests},
		{"files", (*console).files},
		{"pause", (*console).pauses},
		{"1 MB of bytes", (*console).largePayload},
		{"leave and come back", (*console).comesBack},
		{"clients", (*console).kicks},
		{"retained", (*console).clearsRetained},
		{"hub restarts", (*console).reconnects},
		{"5,000 messages a second", (*console).load},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.run(&console{rig: r, browser: c.browser.as(t), t: t, username: c.username, password: c.password})
		})
		if c.browser.as(t).clean(); t.Failed() {
			return
		}
	}
}

// client prepares mosquitto_pub or mosquitto_sub with the credential.
func (c *console) client(ctx context.Context, program string, args ...string) []string {
	return append([]string{program, "-h", "127.0.0.1", "-p", "1883", "-u", c.username, "-P", c.password}, args...)
}

func (c *console) publish(args ...string) {
	c.t.Helper()
	c.host.run(c.client(context.Background(), "mosquitto_pub", args...)...)
}

const tapLive = "[data-testid=mqtt-link][data-state=live]"

func topicRow(topic string) string { return fmt.Sprintf("[role=treeitem][data-topic=%q]", topic) }

func (c *console) empty() {
	c.open(consoleURL + "?filter=nobody/%23")
	c.wait(tapLive, "")
	c.wait("main", "Nothing has come on nobody/#")
	c.inspectEverySize("mqtt-empty")
}

func (c *console) messages() {
	c.publish("-t", "devices/kitchen/climate", "-r", "-q", "1", "-m", `{"temp":20.5,"hum":48}`)
	c.open(consoleURL + "?filter=devices/%23&topic=devices/kitchen/climate")
	c.wait(topicRow("devices/kitchen/climate"), "20.5")
	c.wait("[data-testid=mqtt-payload]", `"temp": 20.5`)
	for _, temp := range []string{"21", "22.5", "21.5"} {
		c.publish("-V", "5", "-t", "devices/kitchen/climate", "-r", "-q", "1", "-m", `{"temp":`+temp+`,"hum":48}`, "-D", "publish", "user-property", "unit", "°C")
		c.wait("[data-testid=mqtt-payload]", `"temp": `+temp)
	}
	c.wait("[data-testid=mqtt-detail] dl", "unit")
	c.inspectEverySize("mqtt-message")
	c.click("#mqtt-pane-chart")
	c.wait("[data-testid=mqtt-chart]", "from 20.5 to 22.5")
	c.inspectBoth("mqtt-chart")
	c.click("#mqtt-pane-history")
	c.wait("[data-testid=mqtt-diff]", `"temp": 22.5`)
	c.inspectBoth("mqtt-history")
	c.click("#mqtt-pane-message")
	c.fill("[data-testid=mqtt-search]", "/no such/")
	c.wait("main", "No message matches")
	c.fill("[data-testid=mqtt-search]", "22.5")
	c.becomes("document.querySelectorAll('[data-testid=mqtt-messages] [role=option]').length", "1")
	c.fill("[data-testid=mqtt-search]", "")
	c.becomes("location.search", "?filter=devices%2F%23&topic=devices%2Fkitchen%2Fclimate")
}

// keyboard finds a value, looks at its past and writes to another topic without a pointer; whatever has the focus shows it.
func (c *console) keyboard() {
	c.open(hubURL + "/app/streams")
	c.wait("main", "Nothing is open")
	c.tabTo("[data-testid=nav-mqtt]")
	c.press("Enter")
	c.wait("main:focus", "")
	c.wait(tapLive, "")
	c.tabTo("[data-testid=mqtt-filter]")
	c.press("Control+a")
	c.browser.write("devices/#")
	c.press("Enter")
	c.wait(topicRow("devices"), "")
	c.tabTo("#topics")
	for _, key := range []string{"Home", "*", "ArrowDown", "*", "ArrowDown", "Enter"} {
		c.press(key)
	}
	c.becomes("new URLSearchParams(location.search).get('topic')", "devices/kitchen/climate")
	c.wait("[data-testid=mqtt-payload]", `"temp": 21.5`)
	c.tabTo("#messages")
	c.press("Home")
	c.wait("#messages [role=option][aria-selected=true]", "devices/kitchen/climate")
	c.tabTo("[role=tab][aria-selected=true]")
	c.press("End")
	c.wait("#mqtt-pane-publish:focus", "")
	c.tabTo("#mqtt-publish-topic")
	c.press("Control+a")
	c.browser.write("cmds/kitchen/by-keys")
	c.press("Control+Enter")
	c.wait("[data-testid=mqtt-result]", "Published at")
}

func (c *console) publishes() {
	heard := c.hears("cmds/kitchen/light", "-q", "1", "-v", "-F", "%t %q %p")
	c.open(consoleURL + "?pane=publish")
	c.fill("#mqtt-publish-topic", "cmds/kitchen/light")
	c.click("label:has(> [name=mqtt-kind][value=json])")
	c.fill("#mqtt-publish-payload", `{"on":`)
	c.wait("#mqtt-publish-payload-error", "No JSON")
	c.fill("#mqtt-publish-payload", `{"on":true}`)
	c.click("label:has(> [name=mqtt-qos][value='1'])")
	c.inspectEverySize("mqtt-publish")
	c.click("[data-testid=mqtt-send]")
	c.wait("[data-testid=mqtt-result]", "Published at")
	if got := heard(); got != `cmds/kitchen/light 1 {"on":true}` {
		c.t.Errorf("mosquitto_sub heard %q", got)
	}
	c.click("[data-testid=mqtt-template-new]")
	c.fill("[data-testid=mqtt-template-name]", "light on")
	c.click("[data-testid=mqtt-template-save]")
	c.wait("[data-testid=toast]", "Saved as light on")
	c.do("reload", nil, nil)
	c.do("choose", ask{"on": "[data-testid=mqtt-templates]", "value": ask{"label": "light on"}}, nil)
	c.becomes("document.querySelector('#mqtt-publish-payload').value", `{"on":true}`)
	c.fill("#mqtt-publish-topic", "$SYS/x")
	c.click("[data-testid=mqtt-send]")
	c.wait("[data-testid=problem]", "")
}

// hears starts mosquitto_sub for one message of a topic and waits until it listens; the function gives what it printed.
func (c *console) hears(topic string, args ...string) func() string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	c.t.Cleanup(cancel)
	id := fmt.Sprintf("hears-%d", time.Now().UnixNano())
	cmd := c.host.command(ctx, nil, c.client(ctx, "mosquitto_sub", append([]string{"-i", id, "-C", "1", "-t", topic}, args...)...)...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	done := start(c.t, cmd)
	eventually(c.t, patience, "mosquitto_sub subscribed", func() error {
		var clients []struct {
			ClientID      string `json:"client_id"`
			Subscriptions []struct{ Filter string }
		}
		if err := c.call("GET", "/api/v1/mqtt/clients", nil, &clients); err != nil {
			return err
		}
		for _, client := range clients {
			if client.ClientID == id && len(client.Subscriptions) == 1 {
				return nil
			}
		}
		return fmt.Errorf("%d clients, not this one", len(clients))
	})
	return func() string {
		c.t.Helper()
		if err := <-done; err != nil {
			c.t.Errorf("mosquitto_sub: %v", err)
		}
		return strings.TrimSpace(out.String())
	}
}

// requests asks a client of MQTT 5 that answers, and one that is not there.
func (c *console) requests() {
	conn, err := c.host.dial(context.Background(), "tcp", brokerAddress)
	if err != nil {
		c.t.Fatal(err)
	}
	asked := make(chan *mqtt.Publish, 1)
	client, err := mqtt.NewClient(context.Background(), conn, mqtt.Options{Username: c.username, Password: c.password, Clean: true, OnPublish: func(p *mqtt.Publish, ack func()) {
		ack()
		asked <- p
	}})
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Subscribe(context.Background(), mqtt.Subscription{Filter: "cmds/kitchen/ask", QoS: 1}); err != nil {
		c.t.Fatal(err)
	}
	c.open(consoleURL + "?pane=publish")
	c.fill("#mqtt-publish-topic", "cmds/kitchen/ask")
	c.fill("#mqtt-publish-payload", "how warm?")
	c.click("[data-testid=mqtt-request]")
	c.click("[data-testid=mqtt-send]")
	var question mqtt.Message
	select {
	case p := <-asked:
		question = p.Message()
	case <-time.After(patience):
		c.t.Fatal("the question has not come")
	}
	reply := mqtt.Message{Topic: question.ResponseTopic, Payload: []byte(`{"temp":21.5}`), Correlation: question.Correlation}
	if err := client.Publish(context.Background(), reply); err != nil {
		c.t.Fatal(err)
	}
	c.wait("[data-testid=mqtt-result]", "Answered after")
	c.wait("[data-testid=mqtt-payload]", `"temp": 21.5`)
	c.inspectBoth("mqtt-reply")
	c.fill("#mqtt-publish-topic", "cmds/kitchen/nobody")
	c.fill("[aria-label='Wait so many seconds']", "0.5")
	c.click("[data-testid=mqtt-send]")
	c.wait("[data-testid=problem]", "")
}

// files saves what was heard, looks at it as a file, and goes back to what is live.
func (c *console) files() {
	c.open(consoleURL + "?filter=devices/%23&topic=devices/kitchen/climate")
	c.wait("[data-testid=mqtt-payload]", `"temp": 21.5`)
	var saved string
	c.do("download", ask{"on": "[data-testid=mqtt-export]"}, &saved)
	if !strings.Contains(saved, `"topic":"devices/kitchen/climate"`) || strings.Count(saved, "\n") != 1 {
		c.t.Errorf("the saved file: %q", saved)
	}
	path := filepath.Join(c.dir, "heard.ndjson")
	other := strings.ReplaceAll(saved, "devices/kitchen/climate", "from/a/file")
	if err := os.WriteFile(path, []byte(other+"no message\n"), 0o644); err != nil {
		c.t.Fatal(err)
	}
	c.click("[aria-label='Show all topics, not only devices/kitchen/climate']")
	c.do("upload", ask{"on": "[data-testid=mqtt-import]", "path": path}, nil)
	c.wait("[data-testid=toast]", "1 line was left out: line 2 is no JSON")
	c.wait("[data-testid=mqtt-file]", "1 message of heard.ndjson")
	c.wait("#messages [role=option]", "from/a/file")
	c.inspectBoth("mqtt-file")
	c.click("[data-testid=mqtt-file] button")
	c.wait(tapLive, "")
	c.wait(topicRow("devices"), "")
}

func (c *console) pauses() {
	c.open(consoleURL + "?filter=devices/%23&topic=devices/kitchen/door")
	c.wait(tapLive, "")
	c.publish("-t", "devices/kitchen/door", "-m", "open")
	c.wait("[data-testid=mqtt-payload]", "open")
	c.click("[data-testid=mqtt-pause]")
	c.publish("-t", "devices/kitchen/door", "-m", "shut")
	c.wait("[data-testid=mqtt-pause]", "1 new")
	if got := c.text("[data-testid=mqtt-payload]"); got != "open" {
		c.t.Errorf("while paused the page shows %q", got)
	}
	c.click("[data-testid=mqtt-pause]")
	c.wait("[data-testid=mqtt-payload]", "shut")
}

func (c *console) largePayload() {
	file := filepath.Join(c.dir, "picture")
	if err := os.WriteFile(file, []byte(strings.Repeat("\x00\xff\x10pixels", 111_112)[:1_000_000]), 0o644); err != nil {
		c.t.Fatal(err)
	}
	c.open(consoleURL + "?topic=devices/garage/cam")
	c.wait(tapLive, "")
	c.publish("-t", "devices/garage/cam", "-f", file)
	c.wait("[data-testid=mqtt-cut]", "the first 4,096 of 1,000,000 bytes")
	c.wait("[data-testid=mqtt-payload]", "000ff0")
	beside := c.keyTakes("[data-testid=mqtt-search]", 5)
	c.inspectBoth("mqtt-large")
	c.open(consoleURL + "?topic=nobody/there")
	c.wait(tapLive, "")
	c.answers(beside, c.keyTakes("[data-testid=mqtt-search]", 5))
}

// keyTakes types keys into a field, sees that all of them are there, and empties it. It gives how long the middle one took until it was
// painted.
func (c *console) keyTakes(field string, keys int) time.Duration {
	c.t.Helper()
	c.click(field)
	typed := strings.Repeat("e", keys)
	middle := c.paced(strings.Split(typed, ""))
	c.becomes(fmt.Sprintf("document.querySelector(%q).value", field), typed)
	c.fill(field, "")
	return middle
}

// answers compares a key beside much else with one beside nothing.
func (c *console) answers(busy, quiet time.Duration) {
	c.t.Helper()
	c.t.Logf("a key is painted after %v, and beside nothing after %v", busy.Round(time.Millisecond), quiet.Round(time.Millisecond))
	if most := max(consoleAim, consoleTimes*quiet); busy > most {
		c.t.Errorf("a key is painted after %v, want at most %v", busy, most)
	}
}

func (c *console) comesBack() {
	const view = "?filter=devices%2F%23&topic=devices%2Fkitchen&q=climate"
	c.open(consoleURL + view)
	c.wait(topicRow("devices/kitchen/climate"), "")
	c.click("[data-testid=nav-streams]")
	c.wait("h1", "Streams")
	c.click("[data-testid=nav-mqtt]")
	c.wait(topicRow("devices/kitchen/climate"), "")
	c.becomes("location.search", view)
	c.becomes("document.querySelector('[data-testid=mqtt-search]').value", "climate")
	c.do("reload", nil, nil)
	c.wait(topicRow("devices/kitchen/climate"), "")
	c.becomes("location.search", view)
}

func (c *console) kicks() {
	conn, err := c.host.dial(context.Background(), "tcp", brokerAddress)
	if err != nil {
		c.t.Fatal(err)
	}
	client, err := mqtt.NewClient(context.Background(), conn, mqtt.Options{ClientID: "to-be-kicked", Username: c.username, Password: c.password, Clean: true})
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	c.open(consoleURL + "?tab=clients")
	const row = "[data-testid=mqtt-client][data-client=to-be-kicked]"
	c.wait(row, "")
	c.inspectEverySize("mqtt-clients")
	c.click(row + " [data-testid=mqtt-kick]")
	c.wait("[data-testid=confirm]", "Disconnect")
	c.inspectBoth("mqtt-kick")
	c.click("[data-testid=confirm]")
	select {
	case <-client.Done():
	case <-time.After(patience):
		c.t.Error("the client is still connected")
	}
	c.gone(row)
}

func (c *console) clearsRetained() {
	for i := range 12 {
		c.publish("-t", fmt.Sprintf("old/thing-%02d/state", i), "-r", "-m", "on")
	}
	c.open(consoleURL + "?tab=retained&filter=old/%23")
	c.wait("[data-testid=mqtt-retained]", "12 retained messages")
	c.inspectEverySize("mqtt-retained")
	c.click("[data-testid=mqtt-clear]")
	c.wait("[data-testid=mqtt-clear-count]", "12 messages")
	c.inspectBoth("mqtt-clear")
	c.becomes("document.querySelector('[data-testid=confirm]').disabled", "true")
	c.fill("#mqtt-clear-typed", "old/#")
	c.click("[data-testid=confirm]")
	c.wait("[data-testid=mqtt-retained]", "0 retained messages")
	if out, err := c.host.try(c.client(context.Background(), "mosquitto_sub", "-t", "old/#", "--retained-only", "-W", "1")...); err == nil || strings.Contains(out, "on\n") {
		c.t.Errorf("still retained: %v, %q", err, out)
	}
}

func (c *console) reconnects() {
	c.open(consoleURL + "?filter=devices/%23")
	c.wait(tapLive, "")
	c.stopHub("TERM")
	c.wait("[data-testid=mqtt-link][data-state=down]", "Reconnecting")
	c.inspectBoth("mqtt-down")
	c.startHub()
	c.do("wait", ask{"on": tapLive}, nil)
	c.publish("-t", "devices/kitchen/after", "-m", "back")
	c.wait(topicRow("devices/kitchen/after")+", "+topicRow("devices"), "")
}

// load is 5,000 messages a second on 400 topics, 100,000 in all: the page answers, is not painted more often than ten times a second, and
// what it holds does not grow. A slow machine takes longer for them.
func (c *console) load() {
	const field = "[data-testid=mqtt-search]"
	c.open(consoleURL + "?filter=load/%23")
	c.wait(tapLive, "")
	quiet := c.keyTakes(field, 10)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	conn, err := c.host.dial(ctx, "tcp", brokerAddress)
	if err != nil {
		c.t.Fatal(err)
	}
	client, err := mqtt.NewClient(ctx, conn, mqtt.Options{Username: c.username, Password: c.password, Clean: true})
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	half, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- flood(ctx, client, half) }()
	c.wait(topicRow("load"), "")
	c.click(topicRow("load"))
	c.answers(c.keyTakes(field, 20), quiet)
	c.paintsSlowly()
	select {
	case <-half: // by then everything that the page keeps is full
	case err := <-done:
		c.t.Fatal(err)
	}
	var early, late float64
	c.do("heap", nil, &early)
	c.answers(c.keyTakes(field, 20), quiet)
	if err := <-done; err != nil {
		c.t.Fatal(err)
	}
	c.do("heap", nil, &late)
	c.t.Logf("the page holds %.1f MB early and %.1f MB after %d messages; %s", early/1e6, late/1e6, floodOf, c.text("[data-testid=mqtt-dropped]"))
	if late > early+4e6 {
		c.t.Errorf("the page's memory grew from %.1f to %.1f MB", early/1e6, late/1e6)
	}
}

// paintsSlowly counts for some seconds how often the list of messages is made anew.
func (c *console) paintsSlowly() {
	c.t.Helper()
	const code = `new Promise((tell) => {
		let paints = 0;
		const from = performance.now();
		const observer = new MutationObserver(() => {
			paints++;
			const took = (performance.now() - from) / 1000;
			if (took < 3) return;
			observer.disconnect();
			tell(paints / took);
		});
		observer.observe(document.querySelector('#messages'), { subtree: true, childList: true, characterData: true });
	})`
	c.wait("#messages", "") // again, when nothing is searched for
	var rate float64
	c.evaluate(code, &rate)
	c.t.Logf("the list is painted %.1f times a second", rate)
	if rate > 10+2 { // and the ages of what is shown
		c.t.Errorf("the list is painted %.1f times a second, want at most ten", rate)
	}
}

// floodOf is how many messages a flood has.
const floodOf = 100_000

// flood publishes them on 400 topics at 5,000 a second, where the machine can, and closes half in the middle.
func flood(ctx context.Context, client *mqtt.Client, half chan<- struct{}) error {
	const pace, each, topics = 20 * time.Millisecond, 100, 400
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for n := 0; n < floodOf; {
		<-tick.C
		for range each {
			m := mqtt.Message{Topic: fmt.Sprintf("load/t%d/value", n%topics), Payload: fmt.Appendf(nil, `{"n":%d,"text":"%0100d"}`, n, n)}
			if err := client.Publish(ctx, m); err != nil {
				return err
			}
			if n++; n == floodOf/2 {
				close(half)
			}
		}
	}
	return nil
}
