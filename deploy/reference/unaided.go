package reference

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mysqlha/mysqlha/api"
	"github.com/mysqlha/mysqlha/deploy/reference/customer"
)

// Unaided is what customers see of the loss of the primary's host where somebody must act
// first.
type Unaided struct {
	// Lost is the primary whose host was cut off.
	Lost string
	// Customers is what they saw, Found what the database has.
	Customers customer.Report
	Found     customer.Found
}

// LoseUnaided pauses automation, cuts the primary's host off under orders, and lets
// automation go on after a time, as somebody would who comes to help only then. It mends
// what it broke and waits until the site is whole again.
func (s *Site) LoseUnaided(ctx context.Context, absent time.Duration) (u Unaided, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, drillTimeout+absent, errors.New("the site was not whole again in time"))
	defer cancel()
	if u.Lost, err = s.cluster.Primary(ctx); err != nil {
		return u, err
	}
	crowd, err := s.Order(ctx, Crowd{Customers: drillCustomers})
	if err != nil {
		return u, err
	}
	if err := crowd.Await(ctx, ordersBefore); err != nil {
		return u, err
	}
	if _, err := s.cluster.API().Pause(ctx, api.PauseRequest{Reason: "what a loss costs while nobody acts", For: drillTimeout + absent}); err != nil {
		return u, fmt.Errorf("pausing automation: %w", err)
	}
	err = s.Plug(ctx, u.Lost, false)
	if err == nil {
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-time.After(absent):
		}
	}
	helped := time.Now()
	clean, stop := context.WithTimeout(context.WithoutCancel(ctx), mendTimeout)
	defer stop()
	if _, failed := s.cluster.API().Resume(clean, "somebody who came to help"); failed != nil {
		err = errors.Join(err, fmt.Errorf("letting automation go on: %w", failed))
	}
	if err == nil {
		err = crowd.AwaitSince(ctx, helped, ordersAfter)
	}
	mend, stopMending := context.WithTimeout(context.WithoutCancel(ctx), mendTimeout)
	defer stopMending()
	err = errors.Join(err, s.Plug(mend, u.Lost, true))
	var left error
	if u.Customers, left = crowd.Stop(); left != nil || err != nil {
		return u, errors.Join(err, left)
	}
	if u.Found, err = s.Check(ctx, u.Customers.Acks); err != nil {
		return u, err
	}
	return u, s.AwaitWhole(ctx)
}
