package election

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// User is one who may use etcd. Etcd knows it by the common name of its certificate; there are no passwords.
type User struct {
	Name string
	// Everything lets it do all there is to do; else it may read what stands under Reads.
	Everything bool
	Reads      string
}

const (
	// rootName is what etcd calls the user and the role that may do everything. There is no certificate of that name.
	rootName = "root"
	// accessTimeout bounds all of Protect.
	accessTimeout = 10 * time.Second
)

// Protect lets nobody use etcd but the users, each in its way. What is there already is no error; nothing is taken away.
// The caller's own certificate must be that of one who may do everything.
func Protect(ctx context.Context, client *clientv3.Client, users []User) error {
	ctx, cancel := context.WithTimeout(ctx, accessTimeout)
	defer cancel()
	// The user root must exist before etcd asks who somebody is.
	for _, u := range append([]User{{Name: rootName, Everything: true}}, users...) {
		if err := admit(ctx, client, u); err != nil {
			return fmt.Errorf("let %s into etcd: %w", u.Name, err)
		}
	}
	if _, err := retry(ctx, func(ctx context.Context) (*clientv3.AuthEnableResponse, error) { return client.AuthEnable(ctx) }); err != nil {
		return fmt.Errorf("have etcd ask who its clients are: %w", err)
	}
	return nil
}

// admit makes one user and grants it what it may do.
func admit(ctx context.Context, client *clientv3.Client, u User) error {
	role := rootName
	if !u.Everything {
		role = u.Name
	}
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error {
			_, err := client.UserAddWithOptions(ctx, u.Name, "", &clientv3.UserAddOptions{NoPassword: true})
			return err
		},
		func(ctx context.Context) error {
			_, err := client.RoleAdd(ctx, role)
			return err
		},
		func(ctx context.Context) error {
			if u.Everything {
				return nil
			}
			_, err := client.RoleGrantPermission(ctx, role, u.Reads, clientv3.GetPrefixRangeEnd(u.Reads), clientv3.PermissionType(clientv3.PermRead))
			return err
		},
		func(ctx context.Context) error {
			_, err := client.UserGrantRole(ctx, u.Name, role)
			return err
		},
	} {
		_, err := retry(ctx, func(ctx context.Context) (struct{}, error) {
			err := step(ctx)
			if errors.Is(err, rpctypes.ErrUserAlreadyExist) || errors.Is(err, rpctypes.ErrRoleAlreadyExist) {
				err = nil
			}
			return struct{}{}, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Protected tells whether etcd asks who its clients are.
func Protected(ctx context.Context, client *clientv3.Client) (bool, error) {
	answer, err := retry(ctx, func(ctx context.Context) (*clientv3.AuthStatusResponse, error) { return client.AuthStatus(ctx) })
	if err != nil {
		return false, fmt.Errorf("ask whether etcd asks who its clients are: %w", err)
	}
	return answer.Enabled, nil
}
