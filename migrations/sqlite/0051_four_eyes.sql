-- Two pairs of eyes: a result may stand between the first doctor's opinion and the second's.
alter table result add column standing text not null default 'pending'
    check (standing in ('pending', 'awaiting-second', 'disputed', 'accepted', 'rejected', 'corrected'));
update result set standing = review_state;
drop index result_in_review;
alter table result drop column review_state;
alter table result rename column standing to review_state;
create index result_in_review on result (review_state, computed_at, result_id) where released_at is not null;

-- Where the result stood after it; null: where its decision alone leads.
alter table review add column leads_to text check (leads_to in ('awaiting-second', 'disputed'));
