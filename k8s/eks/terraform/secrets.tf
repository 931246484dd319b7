# Five secrets, which k8s/overlays/eks/secrets.yaml brings into the cluster. Keys of tickets and passes, and the box
# office's own, are put in by hand (docs/EKS.md): they pass through neither plan nor state. Nor do the passwords that are
# made here: they are written once, then read back by whoever needs them.
locals {
  database = {
    dbname   = "box_office"
    username = "box_office"
  }
}

resource "aws_secretsmanager_secret" "by_hand" {
  for_each = toset(["edge-keys", "backend"])

  name                    = "${var.name}/${each.key}"
  recovery_window_in_days = 7
}

resource "aws_secretsmanager_secret" "store" {
  name                    = "${var.name}/store"
  recovery_window_in_days = 7
}

# Apart from the password, which is there before the database is.
resource "aws_secretsmanager_secret" "database_endpoint" {
  name                    = "${var.name}/database-endpoint"
  recovery_window_in_days = 7
}

resource "aws_secretsmanager_secret_version" "database_endpoint" {
  secret_id     = aws_secretsmanager_secret.database_endpoint.id
  secret_string = jsonencode({ host = aws_db_instance.database.address })
}

resource "aws_secretsmanager_secret" "database" {
  name                    = "${var.name}/database"
  recovery_window_in_days = 7
}

# Letters and digits only: they go into a URL as they are.
ephemeral "random_password" "store" {
  length  = 48
  special = false
}

ephemeral "random_password" "database" {
  length  = 48
  special = false
}

resource "aws_secretsmanager_secret_version" "store" {
  secret_id                = aws_secretsmanager_secret.store.id
  secret_string_wo         = jsonencode({ password = ephemeral.random_password.store.result })
  secret_string_wo_version = var.passwords_version
}

resource "aws_secretsmanager_secret_version" "database" {
  secret_id                = aws_secretsmanager_secret.database.id
  secret_string_wo         = jsonencode(merge(local.database, { password = ephemeral.random_password.database.result }))
  secret_string_wo_version = var.passwords_version
}

ephemeral "aws_secretsmanager_secret_version" "store" {
  secret_id  = aws_secretsmanager_secret.store.id
  version_id = aws_secretsmanager_secret_version.store.version_id
}

ephemeral "aws_secretsmanager_secret_version" "database" {
  secret_id  = aws_secretsmanager_secret.database.id
  version_id = aws_secretsmanager_secret_version.database.version_id
}
