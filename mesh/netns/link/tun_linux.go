package link

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const tunPath = "/dev/net/tun"

// OpenTUN makes a TUN device of IP packets without a header, in the network
// namespace of the calling thread. It has no address and is down; it vanishes when
// it is closed. It needs CAP_NET_ADMIN.
func OpenTUN(name string) (Device, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("link: %q is no name of a device: %w", name, err)
	}
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("link: %s: %w; it needs root and a kernel with TUN", tunPath, err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return nil, errors.Join(fmt.Errorf("link: the device %s cannot be made: %w", name, err), unix.Close(fd))
	}
	// Only now: the poller must see a device, not the file that makes one.
	return os.NewFile(uintptr(fd), tunPath), nil
}

// down reports whether a packet could not be written because the device is
// down, which a link that was cut may be.
func down(err error) bool { return errors.Is(err, unix.EIO) }
