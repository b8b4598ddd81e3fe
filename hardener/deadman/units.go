//go:build linux

package deadman

import (
	"fmt"
	"path"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// recoverUnit is started by the timer, on a node that runs. No order: it waits
// for the restart of components.
const recoverUnit = `# Written by kubespray-hardener while a fix is not yet proven.
[Unit]
Description=Put back the files of a fix that was not proven in time
Documentation=https://github.com/kubespray-hardener/kubespray-hardener
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=` + txn.Program + ` recover
TimeoutStartSec=15min
OOMScoreAdjust=-900
`

// bootUnit puts the old files back before anything is started with the new ones.
// It needs the disks and nothing else: no D-Bus, no network, no other service. It
// must not keep a node from booting, so that its time is short, and whatever it
// comes to, the components start.
const bootUnit = `# Written by kubespray-hardener while a fix is not yet proven.
[Unit]
Description=Put back the files of a fix that was not proven before the node went down
Documentation=https://github.com/kubespray-hardener/kubespray-hardener
DefaultDependencies=no
RequiresMountsFor=` + txn.StateDir + ` /etc
After=local-fs.target
Before=containerd.service docker.service crio.service cri-dockerd.service kubelet.service etcd.service etcd-events.service
Conflicts=shutdown.target
Before=shutdown.target
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=` + txn.Program + ` recover --boot
TimeoutStartSec=2min
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
`

// look is how often the recovery is started. One that finds a living process
// within its time does nothing; one that finds no process recovers at once,
// however much time that process had left.
const look = 30 * time.Second

// timerUnit starts the recovery again and again, by systemd's clock since boot
// and not the wall clock. It is not enabled: at boot the other unit recovers.
func timerUnit(within time.Duration) string {
	return fmt.Sprintf(`# Written by kubespray-hardener while a fix is not yet proven.
[Unit]
Description=Time in which a fix has to be proven
Documentation=https://github.com/kubespray-hardener/kubespray-hardener

[Timer]
Unit=%s
OnActiveSec=%dms
OnUnitInactiveSec=%ds
AccuracySec=100ms
`, path.Base(txn.RecoverUnit), min(within, look).Milliseconds(), int(look.Seconds()))
}
