package origin

import (
	"bytes"
	"container/list"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxEntries = 4096             // directory entries that are remembered
	maxAge     = 10 * time.Minute // and for how long
	maxParents = 4
)

// witnessed are the events that change a directory entry or what is behind it.
const witnessed = unix.FAN_CREATE | unix.FAN_DELETE | unix.FAN_MOVED_FROM | unix.FAN_MOVED_TO | unix.FAN_ATTRIB |
	unix.FAN_MODIFY | unix.FAN_CLOSE_WRITE | unix.FAN_ONDIR | unix.FAN_EVENT_ON_CHILD

// Witness remembers which process changed an entry of the directories it
// watches. The kernel tells it (fanotify(7), with names since Linux 5.9); it
// only gets to know, so no process ever waits for it. A nil Witness has seen
// nothing.
//
// PIDs are those of the PID namespace of this process: in a container that is
// the host's only with hostPID. Changes from outside of it, and the own ones, are
// not remembered.
type Witness struct {
	events *os.File
	self   int
	now    func() time.Time
	done   chan struct{} // closed when follow has ended

	// The last process that was looked up; only follow uses them.
	last       Actor
	lastParent int

	mu      sync.Mutex
	dirs    map[string]handle // by path
	entries map[entry]*list.Element
	order   *list.List // of sighting, oldest first
}

// handle identifies a directory as events do: fsid and file handle, as they
// lie in struct fanotify_event_info_fid.
type handle string

type entry struct {
	dir  handle
	name string // "." for the directory itself
}

type sighting struct {
	entry entry
	actor Actor
}

// NewWitness asks the kernel for a queue of events. It fails where fanotify is
// missing or this process lacks CAP_SYS_ADMIN in the initial user namespace.
func NewWitness() (*Witness, error) {
	// Linux 5.13 lets anyone listen, but tells only root who acted. To ask for
	// unlimited marks is to ask whether we are.
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_REPORT_DFID_NAME|unix.FAN_UNLIMITED_MARKS|
		unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("witness changes: fanotify_init: %w", err)
	}
	w := &Witness{
		// Nonblocking, so that a read waits in the runtime's poller and Close ends it.
		events: os.NewFile(uintptr(fd), "fanotify"), self: os.Getpid(), now: time.Now, done: make(chan struct{}),
		dirs: map[string]handle{}, entries: map[entry]*list.Element{}, order: list.New(),
	}
	go w.follow()
	return w, nil
}

// Close ends the watching.
func (w *Witness) Close() error {
	if w == nil {
		return nil
	}
	err := w.events.Close()
	<-w.done
	return err
}

// Watch makes dirs, paths on this machine, the directories that are watched; it
// may be called again at any time. To see the mode or the owner of a directory
// change it must be among them itself. A missing directory is passed over. One
// that cannot be watched, such as on a file system without file handles, is left
// out, and the error names it; the others are watched nevertheless.
func (w *Witness) Watch(dirs []string) error {
	if w == nil {
		return nil
	}
	var errs []error
	wanted := map[string]handle{}
	for _, dir := range dirs {
		dir = filepath.Clean(dir)
		h, err := w.mark(dir, unix.FAN_MARK_ADD, "")
		switch {
		case errors.Is(err, unix.ENOENT):
		case err != nil:
			errs = append(errs, fmt.Errorf("watch %s: %w", dir, err))
		default:
			wanted[dir] = h
		}
	}
	w.mu.Lock()
	before := w.dirs
	w.dirs = wanted
	w.mu.Unlock()
	for dir, h := range before {
		// A directory that is no longer at its path may keep its mark: its events
		// are then passed over.
		if !watched(wanted, h) {
			_, _ = w.mark(dir, unix.FAN_MARK_REMOVE, h)
		}
	}
	return errors.Join(errs...)
}

func watched(dirs map[string]handle, h handle) bool {
	for _, other := range dirs {
		if other == h {
			return true
		}
	}
	return false
}

// mark adds or removes the mark of a directory, unless another one than only is
// there now. A mark is on the inode, and to add it twice is to have it once.
func (w *Witness) mark(dir string, action uint, only handle) (handle, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	h, err := handleOf(fd)
	if err != nil {
		return "", fmt.Errorf("file handle: %w", err)
	}
	if only != "" && h != only {
		return h, nil
	}
	conn, err := w.events.SyscallConn()
	if err != nil {
		return "", err
	}
	cerr := conn.Control(func(events uintptr) {
		err = unix.FanotifyMark(int(events), action, witnessed, fd, "")
	})
	return h, errors.Join(cerr, err)
}

func handleOf(fd int) (handle, error) {
	const identifyOnly = 0x200 // AT_HANDLE_FID, Linux 6.5: also where the handle cannot be opened, as on overlayfs
	fh, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH|identifyOnly)
	if errors.Is(err, unix.EINVAL) {
		fh, _, err = unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH)
	}
	if err != nil {
		return "", err
	}
	var s unix.Statfs_t
	if err := unix.Fstatfs(fd, &s); err != nil {
		return "", err
	}
	b, err := binary.Append(nil, binary.NativeEndian, []int32{s.Fsid.Val[0], s.Fsid.Val[1], int32(fh.Size()), fh.Type()})
	return handle(append(b, fh.Bytes()...)), err
}

// Seen is the process that last changed the entry at path, or the directory
// itself if that is watched. path is one below a directory as it was given to
// Watch.
func (w *Witness) Seen(path string) (Actor, bool) {
	if w == nil {
		return Actor{}, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	path = filepath.Clean(path)
	var last Actor
	for _, at := range []struct{ dir, name string }{{filepath.Dir(path), filepath.Base(path)}, {path, "."}} {
		h, ok := w.dirs[at.dir]
		if !ok {
			continue
		}
		if e := w.entries[entry{h, at.name}]; e != nil {
			if a := e.Value.(*sighting).actor; a.At.After(last.At) {
				last = a
			}
		}
	}
	if last.PID == 0 || w.now().Sub(last.At) > maxAge {
		return Actor{}, false
	}
	return last, true
}

func (w *Witness) follow() {
	defer close(w.done)
	buf := make([]byte, 16<<10)
	for {
		n, err := w.events.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(time.Second) // such as ENOMEM; not worth losing sight for good
			continue
		}
		eachEvent(buf[:n], w.saw)
	}
}

// eachEvent takes what was read apart: struct fanotify_event_metadata, followed
// by records of which the one with the directory's handle and the entry's name
// counts. An overflow of the queue has none and is passed over.
func eachEvent(b []byte, saw func(mask uint64, pid int, e entry)) {
	const metadata, header, fid = unix.FAN_EVENT_METADATA_LEN, 4, 16 // struct fanotify_event_info_header; fsid, handle_bytes, handle_type
	order := binary.NativeEndian
	for len(b) >= metadata {
		size, start := int(order.Uint32(b)), int(order.Uint16(b[6:]))
		if size < metadata || size > len(b) || start > size {
			return
		}
		mask, pid := order.Uint64(b[8:]), int(int32(order.Uint32(b[20:])))
		info := b[start:size]
		for len(info) >= header {
			n := int(order.Uint16(info[2:]))
			if n < header || n > len(info) {
				break
			}
			record := info[header:n]
			if info[0] == unix.FAN_EVENT_INFO_TYPE_DFID_NAME && len(record) >= fid {
				if end := fid + int(order.Uint32(record[8:])); end <= len(record) {
					name, _, _ := bytes.Cut(record[end:], []byte{0})
					saw(mask, pid, entry{handle(record[:end]), string(name)})
				}
			}
			info = info[n:]
		}
		b = b[size:]
	}
}

// saw remembers who caused an event.
func (w *Witness) saw(mask uint64, pid int, e entry) {
	if pid <= 0 || pid == w.self {
		return
	}
	w.mu.Lock()
	known := watched(w.dirs, e.dir)
	old := w.entries[e]
	w.mu.Unlock()
	now := w.now()
	if !known {
		return
	}
	actor, kind := Actor{}, mask&^unix.FAN_ONDIR
	if old != nil {
		actor = old.Value.(*sighting).actor
	}
	switch age := now.Sub(actor.At); {
	case actor.PID == pid && kind == unix.FAN_MODIFY && age < time.Second:
		// One that goes on writing, as to a log, is not looked up each time.
	case actor.PID > 0 && kind == unix.FAN_CLOSE_WRITE && age < maxAge:
		// A close alone is no change unless the file was mapped: programs open a
		// file for writing to lock it.
		return
	default:
		actor = w.lookUp(pid, now)
	}
	actor.At = now
	w.mu.Lock()
	defer w.mu.Unlock()
	if old != nil {
		w.order.Remove(old)
	}
	w.entries[e] = w.order.PushBack(&sighting{e, actor})
	for oldest := w.order.Front(); oldest != nil; oldest = w.order.Front() {
		s := oldest.Value.(*sighting)
		if w.order.Len() <= maxEntries && now.Sub(s.actor.At) <= maxAge {
			break
		}
		w.order.Remove(oldest)
		delete(w.entries, s.entry)
	}
}

// lookUp reads what is still there of a process, which may be about to end: its
// stat first, which has name and parent in one. One that changes many files is
// asked for no more than that.
func (w *Witness) lookUp(pid int, now time.Time) Actor {
	same := w.last.PID == pid && now.Sub(w.last.At) < time.Second
	comm, parent := nameAndParent(pid)
	switch {
	case same && comm == "":
		return w.last
	case same && parent == w.lastParent:
		w.last.Comm = comm // it may have become another program
		return w.last
	}
	a := Actor{PID: pid, Comm: comm, At: now}
	if comm != "" {
		a.Login = set(strings.TrimSpace(readProc(pid, "loginuid")))
	}
	w.last, w.lastParent = a, parent
	for parent > 0 && len(a.Parents) < maxParents {
		var comm string
		if comm, parent = nameAndParent(parent); comm == "" {
			break
		}
		a.Parents = append(a.Parents, comm)
	}
	w.last.Parents = a.Parents
	return a
}

// nameAndParent reads proc_pid_stat(5): "PID (NAME) STATE PPID ...".
func nameAndParent(pid int) (string, int) {
	stat := readProc(pid, "stat")
	open, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return "", 0
	}
	var parent int
	if f := strings.Fields(stat[end+1:]); len(f) > 1 {
		parent, _ = strconv.Atoi(f[1])
	}
	return stat[open+1 : end], parent
}

// readProc reads the beginning of a small file of a process, without the detours
// of os.ReadFile: the process does not wait for us.
func readProc(pid int, name string) string {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var buf [512]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return ""
	}
	return string(buf[:n])
}
