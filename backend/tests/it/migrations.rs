//! Who brings the schema up to date, and with which rights.

use crate::support::office::{Office, command};
use crate::support::postgres::{TestDatabase, shared};

const SERVING: [&str; 2] = ["--open", "--no-migrate"];

/// What it says, and its exit code.
fn run(database: &TestDatabase, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(&database.url).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn migrate_brings_the_schema_up_to_date_and_ends_and_a_server_that_may_not_migrate_waits_for_it() {
    let database = shared().database();
    let (code, said) = run(&database, &SERVING);
    assert_eq!(code, Some(69), "{said}");
    assert!(
        said.contains("is version 0, this release needs") && said.contains("`box-office migrate`"),
        "{said}"
    );
    assert_eq!(tables(&database).await, 0, "it changed nothing");

    let (code, said) = run(&database, &["migrate"]);
    assert_eq!(code, Some(0), "{said}");
    let migrated = tables(&database).await;
    assert!(migrated > 5, "{migrated} tables");
    let (code, said) = run(&database, &["migrate"]);
    assert_eq!(code, Some(0), "again: {said}");
    assert!(said.contains(r#""applied":0"#), "{said}");
    assert_eq!(tables(&database).await, migrated);

    let office = Office::on(&database, &[&SERVING[..], &["--seed-total", "5"]].concat()).await;
    office.hold("ann", "k", 1).await;
}

#[tokio::test]
async fn a_release_works_with_the_schema_of_a_later_one_so_that_a_rollout_can_go_back() {
    let database = shared().database();
    assert_eq!(run(&database, &["migrate"]).0, Some(0));
    let later = "INSERT INTO refinery_schema_history VALUES (99, 'later', '2030-01-01T00:00:00Z', '1')";
    database.connect().await.batch_execute(later).await.unwrap();
    let (code, said) = run(&database, &["migrate"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(r#""version":99"#), "{said}");
    for arguments in [&["--open", "--seed-total", "5"][..], &SERVING] {
        Office::on(&database, arguments).await.hold("ann", &format!("{}", arguments.len()), 1).await;
    }
}

/// As docs/OPERATIONS.md has them.
#[tokio::test]
async fn a_server_needs_no_more_rights_than_the_guide_gives_it() {
    let database = shared().database();
    let guide = include_str!("../../../docs/OPERATIONS.md");
    let (_, rights) = guide.split_once("```sql\n").expect("the rights of the server");
    let (rights, _) = rights.split_once("```").unwrap();
    // Roles belong to the whole server, and other tests share it.
    let role = format!("clerk_of_{}", database.name());
    let rights =
        rights.replace("clerk", &role).replace("box_office", database.name()).replace("owner", "shop");
    database.connect().await.batch_execute(&rights).await.unwrap();
    let clerk = database.as_role(&role);

    let (code, said) = run(&clerk, &["migrate"]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("permission denied") && said.contains("as the role that owns it"), "{said}");
    assert_eq!(run(&database, &["migrate"]).0, Some(0));
    let office = Office::on(&clerk, &[&SERVING[..], &["--seed-total", "9", "--seed-seats"]].concat()).await;
    let order = office.ordered("ann", "k", serde_json::json!({ "qty": 2 })).await;
    let payment = office.authorize("ann", &order).await;
    office.payment_stands("ann", &payment, ("SUCCEEDED", "PAID")).await;
    office.assert_settled().await;
    assert!(!office.log().contains("permission denied"), "{}", office.log());
    assert_eq!(run(&clerk, &["--check-books"]).0, Some(0));
}

async fn tables(database: &TestDatabase) -> i64 {
    database.number("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").await
}
