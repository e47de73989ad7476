package conformance

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
)

// What is hostile gets the right code, and nothing else of the broker feels it.
func TestHostileRowsHoldForOurs(t *testing.T) {
	t.Parallel()
	g, _ := ours(t)
	for _, w := range rows(t, "hostile") {
		each(t, w, g, true)
	}
}

// What is retained is not given to who may read it no longer: a subscription from before ends, a new one is refused.
func TestRetainedIsNotReadAfterItsGrant(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"4", "5"} {
		g, access := ours(t)
		r := g.run(t, version, g.doors["tcp"], true)
		r.keep = true
		t.Cleanup(r.close)
		must := func(steps string) {
			t.Helper()
			if err := r.do(scripted(t, steps)); err != nil {
				t.Fatal(err)
			}
		}
		must(`connect t
			pub t 1 retain "cmds/oven/~" 'before'
			a> 10 . HEAD c0 003c [11 00000e10] "~a" "oven" PASS
			a< 20 . 00 00 [*]
			a> 82 . 0001 [] "cmds/oven/#" 00
			a& 90 . 0001 [] 00
			a& 31 . "cmds/oven/~" [] 'before'`)
		access.revoke("oven")
		must(`pub t 1 retain "cmds/oven/~" 'after'
			quiet a
			a> 82 . 0002 [] "cmds/oven/#" 00 "cmds/oven/~" 00
			4| a< 90 . 0002 80 80
			5| a< 90 . 0002 [] 87 87
			quiet a
			a-
			a> 10 . HEAD c0 003c [11 00000e10] "~a" "oven" PASS
			a< 20 . 01 00 [*]
			quiet a`)
	}
}

// MQTT-3.3.4-7: more messages under way than the server's Receive Maximum end the connection (0x93); as many are taken.
func TestReceiveMaximumOfTheServer(t *testing.T) {
	t.Parallel()
	g, _ := ours(t)
	for _, door := range g.doors {
		r := g.run(t, "5", door, true)
		r.keep = true
		t.Cleanup(r.close)
		if err := r.do(scripted(t, "a> 10 . HEAD c2 003c [] \"~a\" USER PASS\na< 20 . 00 00 [21 @most, *]")); err != nil {
			t.Fatal(err)
		}
		var steps strings.Builder
		most := int(r.seen["@most"][0])<<8 | int(r.seen["@most"][1])
		for id := 1; id <= most; id++ {
			fmt.Fprintf(&steps, "a> 34 . \"~/t\" %04x [] 'x'\na< 50 . %04x ?00|10\n", id, id)
		}
		fmt.Fprintf(&steps, "a> 6202 0001\na< 7002 0001\na> 34 . \"~/t\" 0001 [] 'x'\na< 50 . 0001 ?00|10\na> 34 . \"~/t\" %04x [] 'x'\na! 93", most+1)
		if err := r.do(scripted(t, steps.String())); err != nil {
			t.Fatal(err)
		}
	}
}

// Every packet that rows send, cut short and with bytes changed, from a stranger and from a client: whatever the broker makes
// of them, it goes on.
func TestBrokenPacketsBreakNothing(t *testing.T) {
	t.Parallel()
	g, _ := ours(t)
	random := rand.New(rand.NewPCG(1, 2))
	for _, version := range []string{"4", "5"} {
		w := g.run(t, version, nil, true)
		for _, packet := range sent(t, w) {
			for range 3 {
				broken := append([]byte{}, packet[:1+random.IntN(len(packet))]...)
				if random.IntN(2) == 0 {
					broken = append([]byte{}, packet...)
				}
				broken[random.IntN(len(broken))] ^= byte(1 << random.IntN(8))
				throw(t, g, version, broken, random.IntN(2) == 0)
			}
		}
	}
	for _, version := range []string{"4", "5"} {
		if err := g.run(t, version, g.doors["tcp"], true).do(scripted(t, "connect a\nsub a 1 \"~/t\"\nconnect b\npub b 1 \"~/t\" 'x'\nget a 1 \"~/t\" 'x'")); err != nil {
			t.Error(err)
		}
	}
}

// sent are the packets that rows send in a version.
func sent(t *testing.T, w *run) [][]byte {
	t.Helper()
	var all [][]byte
	for _, row := range append(rows(t, "rows"), rows(t, "hostile")...) {
		for _, s := range row.steps {
			for _, s := range s.expand() {
				if s.verb != ">" || s.only != "" && s.only != w.version || row.statements[w.version] == nil {
					continue
				}
				if packet, err := w.bytesOf(s.tokens); err == nil && len(packet) < 4096 {
					all = append(all, packet) // those with an error wait for bytes from the broker
				}
			}
		}
	}
	if len(all) < 300 {
		t.Fatalf("rows send only %d packets", len(all))
	}
	return all
}

// throw sends bytes, as a stranger or behind a CONNECT, and leaves.
func throw(t *testing.T, g target, version string, b []byte, stranger bool) {
	t.Helper()
	conn, err := g.doors["tcp"]()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if !stranger {
		tokens, err := tokenize(`10 . HEAD c2 003c [] "~thrower" USER PASS`)
		if err != nil {
			t.Fatal(err)
		}
		connect, err := g.run(t, version, nil, true).bytesOf(tokens)
		if err != nil {
			t.Fatal(err)
		}
		b = append(connect, b...)
	}
	_, _ = conn.Write(b)
	_ = conn.(*net.TCPConn).CloseWrite()
	for buffer := make([]byte, 512); ; {
		if _, err := conn.Read(buffer); err != nil {
			return // the broker has done with it
		}
	}
}
