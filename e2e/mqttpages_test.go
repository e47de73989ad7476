//go:build linux

package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
)

// What stands around the MQTT console, in Chromium and against real Mosquitto clients: its settings, a device's own
// broker, and what a device's page shows.
func TestMQTTPages(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx", "ADIT_MQTT_ADDR="+brokerAddress)
	c := &console{rig: r, browser: r.browser(), t: t}
	r.pasteLine(ask{"name": "kitchen"})
	eventually(t, patience, "kitchen online", r.online("kitchen", true))
	c.open(hubURL + "/app/login")
	c.fill("#email", ownerEmail)
	c.fill("#password", ownerPassword)
	c.click("[data-testid=login-form] [type=submit]")
	c.wait("[data-testid=nav-mqtt]", "")
	for _, step := range []struct {
		name string
		run  func(*console)
	}{
		{"credentials and rules", (*console).credentials},
		{"import", (*console).imports},
		{"a device's own Mosquitto", (*console).ownBroker},
		{"root password", (*console).rootPassword},
		{"update", (*console).agentUpdate},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.run(&console{rig: r, browser: c.browser.as(t), t: t})
		})
		if c.browser.as(t).clean(); t.Failed() {
			return
		}
	}
}

// speaks publishes to home/lamp with QoS 1 and MQTT 5, where a refusal shows in mosquitto_pub's output.
func (c *console) speaks() error {
	args := c.client(context.Background(), "mosquitto_pub", "-V", "5", "-q", "1", "-t", "home/lamp", "-m", "on")
	if out, err := c.host.try(args...); err != nil || out != "" {
		return errorText(out)
	}
	return nil
}

// credentials makes one by the form, lets it write by a rule, and takes both away again.
func (c *console) credentials() {
	c.open(hubURL + "/app/settings?at=mqtt")
	c.click("[data-testid=mqtt-add-credential]")
	c.do("choose", ask{"on": "#mqtt-kind", "value": "application"}, nil)
	c.fill("#mqtt-username", "grafana")
	c.fill("#mqtt-label", "in the cellar")
	c.click("[data-testid=mqtt-credential-form] [type=submit]")
	c.wait("[data-testid=mqtt-new-credential]", "not shown again")
	c.inspectBoth("mqtt-settings")
	c.username, c.password = "grafana", strings.TrimSpace(c.text("[data-testid=mqtt-password] code"))
	if err := c.speaks(); err == nil || !strings.Contains(strings.ToLower(err.Error()), "not authorized") {
		c.t.Errorf("an application without a rule: %v", err)
	}

	c.fill("#mqtt-rule-subject", "credential:grafana")
	c.fill("#mqtt-rule-filter", "home/#/x")
	c.wait("#mqtt-rule-filter-error", "the last level")
	c.inspectBoth("mqtt-rule-wrong")
	c.do("choose", ask{"on": "#mqtt-rule-access", "value": "readwrite"}, nil)
	c.fill("#mqtt-rule-filter", "home/#")
	c.click("[data-testid=mqtt-rule-form] [type=submit]")
	c.wait("[data-testid=mqtt-rule]", "credential:grafana")
	eventually(c.t, patience, "the rule counts", c.speaks)
	c.click("[data-testid=mqtt-rules] summary")
	c.wait("[data-testid=mqtt-rule-builtin]", "devices")
	c.inspectBoth("mqtt-rules")

	c.click("[data-testid=mqtt-rule] button")
	c.wait("[data-testid=confirm]", "Remove")
	c.inspectBoth("mqtt-rule-remove")
	c.click("[data-testid=confirm]")
	c.gone("[data-testid=mqtt-rule]")
	c.click("[data-testid=mqtt-credential][data-username=grafana] button")
	c.click("[data-testid=confirm]")
	c.gone("[data-testid=mqtt-credential]")
	if err := c.speaks(); err == nil || !strings.Contains(err.Error(), "Bad User Name or Password") {
		c.t.Errorf("a credential that was removed: %v", err)
	}
}

// imports takes over a password file of mosquitto_passwd, after a line that cannot be taken was corrected.
func (c *console) imports() {
	path := filepath.Join(c.dir, "passwd")
	c.host.run("mosquitto_passwd", "-c", "-b", path, "anna", "a secret of anna's")
	c.open(hubURL + "/app/settings?at=mqtt")
	c.click("[data-testid=mqtt-import-files] summary")
	c.fill("#mqtt-password-file", c.host.run("cat", path))
	c.fill("#mqtt-acl-file", "topic read public/#\nuser anna\ntopic readwrite home/#")
	c.click("[data-testid=mqtt-import-form] [type=submit]")
	c.wait("[data-testid=mqtt-import-result]", "line 1: ")
	c.inspectBoth("mqtt-import-wrong")
	c.fill("#mqtt-acl-file", "user anna\ntopic readwrite home/#")
	c.click("[data-testid=mqtt-import-form] [type=submit]")
	c.wait("[data-testid=mqtt-import-result]", "1 credential and 1 rule")
	c.click("[data-testid=mqtt-import-take]")
	c.wait("[data-testid=mqtt-credential][data-username=anna]", "application")
	c.wait("[data-testid=mqtt-rule]", "home/#")
	c.username, c.password = "anna", "a secret of anna's"
	eventually(c.t, patience, "who was taken over may write", c.speaks)
}

// ownBroker looks into a Mosquitto on the device, through the tunnel, and writes there.
func (c *console) ownBroker() {
	c.device.daemon("mosquitto", "/var/log/mosquitto.log", nil, "mosquitto", "-p", "1883")
	eventually(c.t, patience, "Mosquitto on the device", func() error {
		if out, err := c.device.try("mosquitto_pub", "-t", "zigbee/door", "-r", "-m", "shut"); err != nil {
			return errorText(out)
		}
		return nil
	})
	c.open(consoleURL + "?device=kitchen&filter=zigbee/%23")
	c.wait(topicRow("zigbee/door"), "shut") // a level that is alone stands open
	c.device.run("mosquitto_pub", "-t", "zigbee/door", "-m", "open")
	c.wait(topicRow("zigbee/door"), "open")
	c.inspectBoth("mqtt-own")

	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	var heard strings.Builder
	sub := c.device.command(ctx, nil, "mosquitto_sub", "-t", "zigbee/set", "-C", "1")
	sub.Stdout = &heard
	done := start(c.t, sub)
	c.click("#mqtt-pane-publish")
	c.fill("#mqtt-publish-topic", "zigbee/set")
	c.fill("#mqtt-publish-payload", "on")
	c.click("label.check:has-text('Retain')") // so that it does not matter who is first
	c.click("[data-testid=mqtt-send]")
	c.wait("[data-testid=mqtt-result]", "Published at")
	if err := <-done; err != nil || strings.TrimSpace(heard.String()) != "on" {
		c.t.Errorf("mosquitto_sub on the device: %v, heard %q", err, heard.String())
	}
	c.open(hubURL + "/app/d/kitchen")
	c.wait("[data-testid=device-mqtt]", "Its own broker")
}

// told has the page believe that the hub said this about kitchen, beside what is so; the function ends that.
func (c *console) told(changes ask) (end func()) {
	c.t.Helper()
	var kitchen ask
	if err := c.call("GET", "/api/v1/devices/kitchen", nil, &kitchen); err != nil {
		c.t.Fatal(err)
	}
	for key, value := range changes {
		kitchen[key] = value
	}
	url := "**/api/v1/devices/" + kitchen["id"].(string)
	c.do("answer", ask{"url": url, "json": kitchen}, nil)
	c.open(hubURL + "/app/d/" + kitchen["id"].(string))
	return func() { c.do("answer", ask{"url": url}, nil) }
}

// rootPassword shows what the page makes of each state; no password of any root is changed.
func (c *console) rootPassword() {
	const panel = "[data-testid=root-password]"
	c.open(hubURL + "/app/d/kitchen")
	c.wait(panel, "policy.root_password = true")
	if c.count("[data-testid=root-password-set]") > 0 {
		c.t.Error("a device that does not allow it is offered a password")
	}
	end := c.told(ask{"root_password": ask{"state": "pending", "made_at": "2026-01-02T03:04:05Z"}})
	c.wait(panel, "Both are kept")
	c.inspectBoth("root-password-pending")
	end()
	end = c.told(ask{"root_password": ask{"state": "active", "made_at": "2026-01-02T03:04:05Z"}})
	defer end()
	c.wait(panel, "Set ")
	c.click("[data-testid=root-password-show]")
	c.wait("[data-testid=root-password-form]", "log of events")
	c.inspectBoth("root-password-ask")
	const reveal = "**/root-password/reveal"
	c.do("answer", ask{"url": reveal, "json": []ask{{"password": "correct-horse-battery", "state": "active", "made_at": "2026-01-02T03:04:05Z"}}}, nil)
	defer c.do("answer", ask{"url": reveal}, nil)
	c.fill("#root-reason", "the sshd is gone")
	c.click("[data-testid=root-password-form] [type=submit]")
	c.wait("[data-testid=root-password-text]", "correct-horse-battery")
	c.wait(panel, "Hides itself in")
	c.inspectBoth("root-password-shown")
}

// agentUpdate shows what the page makes of each state of an update.
func (c *console) agentUpdate() {
	const panel = "[data-testid=agent-update]"
	for _, state := range []struct {
		name, shows string
		changes     ask
	}{
		{"offered", "the hub has another", ask{"update_available": true}},
		{"running", "fetches version v9", ask{"update_available": true, "update": ask{"state": "running", "version": "v9", "at": "2026-01-02T03:04:05Z"}}},
		{"failed", "was not updated to v9: It did not come back.", ask{"update_available": true, "update": ask{
			"state": "failed", "version": "v9", "message": "It did not come back.", "at": "2026-01-02T03:04:05Z"}}},
	} {
		end := c.told(state.changes)
		c.wait(panel, state.shows)
		c.inspectBoth("agent-update-" + state.name)
		end()
	}
	c.open(hubURL + "/app/d/kitchen")
	c.wait("[data-testid=device-name]", "kitchen")
	c.gone(panel)
}
