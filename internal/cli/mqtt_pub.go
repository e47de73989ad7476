package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

const maxPayload = 1 << 20 // the hub takes no more

func (o *mqttOptions) publish(ctx context.Context, stdio command.Stdio) error {
	payload, err := o.payload(stdio.In)
	if err != nil {
		return err
	}
	c, err := o.open(ctx, stdio, nil)
	if err != nil {
		return err
	}
	if o.lines {
		err = o.publishLines(ctx, c, stdio.In)
	} else {
		err = o.publishOften(ctx, c, payload)
	}
	_ = c.Close()
	if ctx.Err() != nil {
		return nil
	}
	return mqttError(err)
}

// payload reads what is sent, all of it before anything is connected.
func (o *mqttOptions) payload(in io.Reader) ([]byte, error) {
	switch {
	case o.file != "":
		f, err := os.Open(o.file)
		if err != nil {
			return nil, wire.Wrap(err, wire.Invalid, "The message cannot be read")
		}
		defer func() { _ = f.Close() }()
		return readPayload(f)
	case o.whole:
		return readPayload(in)
	}
	return []byte(o.text), nil
}

func readPayload(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxPayload+1))
	if err != nil {
		return nil, wire.Wrap(err, wire.Invalid, "The message cannot be read")
	}
	if len(data) > maxPayload {
		return nil, wire.Errorf(wire.TooLarge, "The message has more than %d bytes, which is all that the hub takes.", maxPayload)
	}
	return data, nil
}

func (o *mqttOptions) packet(payload []byte) *mqtt.Publish {
	return &mqtt.Publish{Topic: o.topics[0], Payload: payload, QoS: byte(o.qos), Retain: o.retain, Properties: o.send}
}

func (o *mqttOptions) publishOften(ctx context.Context, c *mqtt.Client, payload []byte) error {
	for i := range o.repeat {
		if i > 0 {
			select {
			case <-time.After(time.Duration(o.repeatDelay * float64(time.Second))):
			case <-ctx.Done():
				return nil
			}
		}
		if err := c.PublishPacket(ctx, o.packet(payload)); err != nil {
			return err
		}
	}
	return nil
}

// publishLines sends while lines come, in order, so many at once as the broker takes, and waits for all at the end.
func (o *mqttOptions) publishLines(ctx context.Context, c *mqtt.Client, in io.Reader) error {
	lines, broken := readLines(ctx, in)
	results := make(chan error, 256) // more than are ever under way
	sent, ended := 0, 0
	var failure error
	for lines != nil || ended < sent {
		select {
		case line, more := <-lines:
			if !more {
				lines = nil
				continue
			}
			err := c.Enqueue(ctx, o.packet(line), func(code mqtt.ReasonCode, err error) {
				if err == nil && code.Failed() {
					err = &mqtt.Error{Code: code}
				}
				results <- err
			})
			if err != nil {
				return err
			}
			sent++
		case err := <-results:
			ended++
			failure = errors.Join(failure, err)
		case <-c.Done():
			return c.Err()
		case <-ctx.Done():
			return nil
		}
		for len(results) > 0 {
			ended++
			failure = errors.Join(failure, <-results)
		}
	}
	select {
	case err := <-broken:
		failure = errors.Join(failure, err)
	default:
	}
	return failure
}

// readLines reads in the background. Reading standard input cannot be interrupted: this may end with the process.
func readLines(ctx context.Context, in io.Reader) (<-chan []byte, <-chan error) {
	lines, broken := make(chan []byte), make(chan error, 1)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, maxPayload)
		for scanner.Scan() {
			select {
			case lines <- bytes.Clone(scanner.Bytes()):
			case <-ctx.Done():
				return
			}
		}
		broken <- scanner.Err()
	}()
	return lines, broken
}
