package shell

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"strconv"
)

// base64Tool decodes (-d) or encodes with lines of 76.
func base64Tool(_ context.Context, c *invocation) int {
	spec := optionSpec{short: "dDiw:", long: map[string]string{"decode": "d", "ignore-garbage": "i", "wrap": "w:"}}
	opts, files, bad := spec.parse(c.args[1:])
	if bad != "" {
		c.lacksOption(bad)
		return 1
	}
	decode, wrap := false, 76
	for _, o := range opts {
		switch o.name {
		case "d", "D":
			decode = true
		case "w":
			wrap, _ = strconv.Atoi(o.value)
		}
	}
	status := c.eachInput(files, func(_ string, r io.Reader) error {
		data, err := c.readAll(r)
		if err != nil {
			return err
		}
		if decode {
			data = bytes.ReplaceAll(data, []byte("\n"), nil)
			out := make([]byte, base64.StdEncoding.DecodedLen(len(data)))
			n, err := base64.StdEncoding.Decode(out, data)
			c.stdout.Write(out[:n])
			if err != nil {
				c.errorf("invalid input")
				c.stdin = nil
			}
			return nil
		}
		text := base64.StdEncoding.EncodeToString(data)
		for wrap > 0 && len(text) > wrap {
			c.stdout.WriteString(text[:wrap] + "\n")
			text = text[wrap:]
		}
		if c.stdout.WriteString(text); wrap > 0 && text != "" {
			c.stdout.WriteByte('\n')
		}
		return nil
	})
	if c.stdin == nil {
		return 1
	}
	return status
}
