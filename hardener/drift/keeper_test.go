package drift

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A disk that takes its time holds nobody up, gets the newest memory and the last one,
// and what it says is told at the next.
func TestKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var written []string
		full := errors.New("no space left on device")
		k := newKeeper(func(data []byte) error {
			time.Sleep(time.Second)
			written = append(written, string(data))
			if len(written) == 1 {
				return full
			}
			return nil
		})
		done := make(chan struct{})
		go func() { k.run(); close(done) }()
		began := time.Now()
		for _, data := range []string{"a", "b", "c"} {
			k.keep([]byte(data))
			if err := k.failed(); err != nil {
				t.Errorf("%s: %v before anything was written", data, err)
			}
			if data == "a" {
				synctest.Wait() // it is being written
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("held up for %s", took)
		}
		time.Sleep(1500 * time.Millisecond)
		k.keep([]byte("d"))
		if err := k.failed(); !errors.Is(err, full) {
			t.Errorf("%v, want %v", err, full)
		}
		k.end()
		<-done
		if diff := cmp.Diff([]string{"a", "c", "d"}, written); diff != "" {
			t.Errorf("written (-want +got):\n%s", diff)
		}
		if err := k.failed(); err != nil {
			t.Errorf("it is well again, and %v is told", err)
		}
	})
}
