package rig_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The checks below ask a service for what it is there for, in its own protocol.

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

func serveHTTP(port int, _ string) error {
	c := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get("http://" + local(port))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && string(body) != "it works" {
		err = fmt.Errorf("got %q", body)
	}
	return err
}

// exchange sends a question and compares the beginning of the answer.
func exchange(network string, port int, question, want string) error {
	answer, err := ask(network, port, question, len(want))
	if err == nil && string(answer) != want {
		err = fmt.Errorf("got %q", answer)
	}
	return err
}

func ask(network string, port int, question string, size int) ([]byte, error) {
	conn, err := net.DialTimeout(network, local(port), 2*time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := conn.Write([]byte(question)); err != nil {
		return nil, err
	}
	answer := make([]byte, size)
	_, err = io.ReadFull(bufio.NewReaderSize(conn, 4096), answer)
	return answer, err
}

func serveRedis(port int, _ string) error { return exchange("tcp", port, "PING\r\n", "+PONG\r\n") }

func serveMemcached(port int, _ string) error {
	return exchange("tcp", port, "version\r\n", "VERSION ")
}

func serveSSH(port int, _ string) error { return exchange("tcp", port, "SSH-2.0-test\r\n", "SSH-2.0-") }

// serveMQTT connects with protocol 3.1.1 and wants to be accepted.
func serveMQTT(port int, _ string) error {
	return exchange("tcp", port, "\x10\x10\x00\x04MQTT\x04\x02\x00\x0a\x00\x04test", "\x20\x02\x00\x00")
}

// serveDNS asks for the address of works.test.
func serveDNS(port int, _ string) error {
	question := "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05works\x04test\x00\x00\x01\x00\x01"
	answer, err := ask("udp", port, question, len(question)+16)
	if err == nil && !bytes.HasSuffix(answer, []byte{192, 0, 2, 1}) {
		err = fmt.Errorf("got %x", answer)
	}
	return err
}

// serveNTP asks a server of the fourth version, which has the tenth stratum.
func serveNTP(port int, _ string) error {
	answer, err := ask("udp", port, "\x23"+strings.Repeat("\x00", 47), 48)
	if err == nil && (answer[0]&7 != 4 || answer[1] != 10) {
		err = fmt.Errorf("got %x", answer)
	}
	return err
}

func servePostgres(port int, _ string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program("/usr/lib/postgresql/*/bin/psql"),
		"-X", "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-U", "postgres", "-Atc", "select 6 * 7")
	out, err := cmd.CombinedOutput()
	if err == nil && strings.TrimSpace(string(out)) != "42" {
		err = fmt.Errorf("got %q", out)
	}
	return err
}

// serveSyslog sends a line of its own and waits for it in the log.
func serveSyslog(port int, dir string) error {
	conn, err := net.DialTimeout("tcp", local(port), 2*time.Second)
	if err != nil {
		return err
	}
	mark := "mark-" + strconv.FormatInt(time.Now().UnixNano(), 10)
	_, err = fmt.Fprintf(conn, "<13>Jan  1 00:00:00 host test: %s\n", mark)
	if closed := conn.Close(); err == nil {
		err = closed
	}
	for range 100 {
		if text, _ := os.ReadFile(filepath.Join(dir, "log")); bytes.Contains(text, []byte(mark)) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s does not arrive", mark)
}

// serveCron looks for what the table's only line does, and takes it away.
func serveCron(_ int, dir string) error { return os.Remove(filepath.Join(dir, "worked")) }
