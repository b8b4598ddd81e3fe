package drift

import (
	"context"
	"sync"
)

// keeper keeps a memory on disk, the newest one, beside whatever else is done: a disk
// may take a second to have written it, and no change is to wait for that.
type keeper struct {
	write func([]byte) error
	wake  chan struct{} // there is one to write

	mu   sync.Mutex
	next []byte // nil: nothing
	err  error  // of the last that was written
}

func newKeeper(write func([]byte) error) *keeper {
	return &keeper{write: write, wake: make(chan struct{}, 1)}
}

// keep has a memory written, in the place of one that waits. It returns how the last
// one fared that was, nil while none was.
func (k *keeper) keep(data []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next = data
	select {
	case k.wake <- struct{}{}:
	default:
	}
	return k.err
}

// run writes until the context ends, and what waits then.
func (k *keeper) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			k.flush()
			return
		case <-k.wake:
			k.flush()
		}
	}
}

func (k *keeper) flush() {
	k.mu.Lock()
	data := k.next
	k.next = nil
	k.mu.Unlock()
	if data == nil {
		return
	}
	err := k.write(data)
	k.mu.Lock()
	k.err = err
	k.mu.Unlock()
}
